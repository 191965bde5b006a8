//! Processes that want to write the same ledger (row 15 of the reliability scorecard).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use runledger::{Error, Ledger, Options, Result};

use crate::ground::Ground;
use crate::real::partner::Partner;
use crate::real::place::{Place, remove_leftovers};
use crate::rng::Rng;

/// How many processes race.
const RIVALS: usize = 3;

/// How many races there are for one ledger.
const ROUNDS: u64 = 50;

fn hear(partner: &mut Partner) -> String {
    partner.hear().unwrap_or_else(|status| panic!("a rival died: {status}"))
}

fn start(program: &Path, dir: &Path) -> Partner {
    Partner::start(program, &["contend", dir.to_str().unwrap()])
}

/// Of all processes that open at once one writes, also where one of them repairs, and where the
/// last writer was killed.
pub(crate) fn races(ground: &Ground) -> Result<()> {
    let ledgers = ground.of(3, 20);
    let Some(program) = &ground.program else {
        ground.skip(ledgers * ROUNDS, "other processes need the program `torture`");
        return Ok(());
    };
    remove_leftovers().unwrap();
    ground.cases(ledgers, |seed| {
        let place = Place::new().unwrap();
        let dir = place.path().join("ledger");
        Ledger::open(&dir)?.close()?;
        let mut rivals: Vec<_> = (0..RIVALS).map(|_| start(program, &dir)).collect();
        let mut rng = Rng::new(seed);
        let mut writers = BTreeSet::from([std::process::id()]);
        let mut won = 0;
        for _ in 0..ROUNDS {
            won += race(program, &dir, &mut rivals, &mut writers, &mut rng);
        }
        drop(rivals);
        let ledger = Ledger::open(&dir)?;
        assert_eq!(ledger.query().record_type("won").count()?, won);
        Ok(ROUNDS)
    });
    Ok(())
}

/// One race. How many have written. `writers` are the processes that ever could have.
fn race(
    program: &Path,
    dir: &Path,
    rivals: &mut [Partner],
    writers: &mut BTreeSet<u32>,
    rng: &mut Rng,
) -> u64 {
    writers.extend(rivals.iter().map(Partner::pid));
    let repairs = rng.below(3) == 0;
    for (at, rival) in rivals.iter_mut().enumerate() {
        rival.tell(if at == 0 && repairs { "repair" } else { "open" });
    }
    let said: Vec<String> = rivals.iter_mut().map(hear).collect();
    let winners: Vec<usize> = (0..said.len()).filter(|&at| said[at] == "open").collect();
    let repaired = said.iter().any(|said| said == "repaired");
    assert!(winners.len() <= 1, "{said:?}");
    assert!(repaired || winners.len() == 1, "{said:?}");
    for said in &said {
        let Some(pid) = said.strip_prefix("locked ") else { continue };
        // The note may not be written yet, or be that of one before, who has let go. Whether that
        // one is dead tells nothing: another process may have been given its number since.
        assert!(pid == "0" || writers.contains(&pid.parse().unwrap()), "{said}");
    }
    for &winner in &winners {
        if rng.below(4) == 0 {
            rivals[winner].kill();
            rivals[winner] = start(program, dir);
        } else {
            rivals[winner].tell("close");
            assert_eq!(hear(&mut rivals[winner]), "closed");
        }
    }
    winners.len() as u64
}

/// A fork is no writer, and neither gives the lock up nor loses it to another process.
pub(crate) fn forks(ground: &Ground) -> Result<()> {
    let count = ground.of(5, 50);
    let Some(program) = &ground.program else {
        ground.skip(count, "other processes need the program `torture`");
        return Ok(());
    };
    ground.cases(count, |_| {
        let place = Place::new().unwrap();
        let dir = place.path().join("ledger");
        let mut parent = Partner::start(program, &["fork", dir.to_str().unwrap()]);
        let mut said = [hear(&mut parent), hear(&mut parent)];
        said.sort();
        assert_eq!(said, ["the fork was refused", "the parent: true"]);
        let second = Ledger::open(&dir);
        assert!(matches!(second, Err(Error::Locked { .. })), "the fork gave up the lock");
        // The fork ends with its input.
        parent.kill();
        drop(parent);
        let ledger = open_soon(&dir);
        assert_eq!(ledger.query().count()?, 2);
        assert_eq!(ledger.query().record_type("of the fork").count()?, 0);
        Ok(1)
    });
    Ok(())
}

fn open_soon(dir: &Path) -> Ledger {
    let begin = Instant::now();
    loop {
        match Options::new().background(false).open(dir) {
            Ok(ledger) => return ledger,
            Err(Error::Locked { .. }) if begin.elapsed() < Duration::from_secs(10) => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(err) => panic!("{err}"),
        }
    }
}

/// Removing the lock file of a writer that lives lets nobody else in.
pub(crate) fn removed_lock(ground: &Ground) -> Result<()> {
    let count = ground.of(10, 100);
    let Some(program) = &ground.program else {
        ground.skip(count, "other processes need the program `torture`");
        return Ok(());
    };
    ground.cases(count, |_| {
        let place = Place::new().unwrap();
        let dir = place.path().join("ledger");
        let mut holder = start(program, &dir);
        holder.tell("open");
        assert_eq!(hear(&mut holder), "open");
        fs::remove_file(dir.join("LOCK")).unwrap();
        let mut second = start(program, &dir);
        for told in ["open", "repair"] {
            second.tell(told);
            assert_eq!(hear(&mut second), "locked 0", "told to {told}");
        }
        holder.kill();
        second.tell("open");
        assert_eq!(hear(&mut second), "open");
        Ok(1)
    });
    Ok(())
}
