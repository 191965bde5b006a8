//! Writers that are killed (row 3 of the reliability scorecard).

use std::path::Path;
use std::time::Duration;

use runledger::Result;

use crate::ground::Ground;
use crate::oracle::{Crash, SharedOracle};
use crate::real::judge::judge;
use crate::real::met::Met;
use crate::real::place::{Place, remove_leftovers};
use crate::real::writer::LiveWriter;
use crate::rng::Rng;

/// How many writers of one ledger are killed, one after the other.
const LIVES: u64 = 25;

/// What a writer has acknowledged survives its death at any moment, that of its opening included.
pub(crate) fn live_writers(ground: &Ground) -> Result<()> {
    let ledgers = ground.of(6, 204);
    let Some(program) = &ground.program else {
        ground.skip(ledgers * LIVES, "kills need the program `torture`");
        return Ok(());
    };
    remove_leftovers().unwrap();
    let met = Met::default();
    ground.cases(ledgers, |seed| lives(program, seed, &met));
    ground.note(met);
    Ok(())
}

fn lives(program: &Path, seed: u64, met: &Met) -> Result<u64> {
    let place = Place::new().unwrap();
    let dir = place.path().join("ledger");
    let oracle = SharedOracle::default();
    oracle.lock().carries = true;
    let mut rng = Rng::new(seed);
    for life in 1..=LIVES {
        let writer = LiveWriter::start(program, &dir, &oracle, rng.number());
        wait(&writer, &mut rng);
        let (status, heard) = writer.kill();
        assert!(heard.errors.is_empty(), "life {life}: {status}, {:?}", heard.errors);
        met.add(&heard);
        // At times the next writer has to do with what several deaths have left.
        if life == LIVES || rng.below(2) == 0 {
            judge(&dir, &oracle, Crash::Kill);
            met.judged();
        }
    }
    Ok(LIVES)
}

/// Waits for the moment to die: while the ledger is opened, or a while after.
pub(crate) fn wait(writer: &LiveWriter, rng: &mut Rng) {
    if rng.below(3) == 0 {
        std::thread::sleep(Duration::from_micros(rng.number() % 6000));
    } else {
        writer.wait_until_open();
        std::thread::sleep(Duration::from_micros(rng.number() % 25_000));
    }
}
