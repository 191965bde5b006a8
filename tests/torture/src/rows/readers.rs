//! Readers beside a live writer (row 13 of the reliability scorecard).

use std::sync::atomic::{AtomicU64, Ordering};

use runledger::Result;

use crate::ground::Ground;
use crate::real::partner::Partner;
use crate::real::place::{Place, remove_leftovers};

/// How many processes read at once, and how many readers each of them has.
const PROCESSES: usize = 4;
const READERS: u64 = 5;

/// How often each process begins with new readers.
const ROUNDS: u64 = 5;

/// Readers in other processes see a prefix without gaps of what is written, while it is rolled over
/// and dropped.
pub(crate) fn beside_a_writer(ground: &Ground) -> Result<()> {
    let ledgers = ground.of(1, 12);
    let readers = PROCESSES as u64 * READERS * ROUNDS;
    let Some(program) = &ground.program else {
        ground.skip(ledgers * readers, "other processes need the program `torture`");
        return Ok(());
    };
    remove_leftovers().unwrap();
    let seen = AtomicU64::new(0);
    // One ledger at a time: its processes are more than enough for the machine.
    for number in 0..ledgers {
        ground.guarded(&format!("ledger {number}"), || {
            let place = Place::new().unwrap();
            let dir = place.path().join("ledger");
            let (words, seed) = (dir.to_str().unwrap(), (ground.seed + number).to_string());
            let mut writer = Partner::start(program, &["number", words, &seed]);
            let open = writer.hear().unwrap_or_else(|status| panic!("the writer died: {status}"));
            assert_eq!(open, "open");
            let start = |_| Partner::start(program, &["follow", words, &seed]);
            let mut processes: Vec<_> = (0..PROCESSES).map(start).collect();
            for _ in 0..ROUNDS {
                processes.iter_mut().for_each(|process| process.tell(&READERS.to_string()));
                for process in &mut processes {
                    let said = process.hear().unwrap_or_else(|it| panic!("a reader died: {it}"));
                    let count = said.parse().unwrap_or_else(|_| panic!("{said}"));
                    seen.fetch_add(count, Ordering::Relaxed);
                }
            }
            let lives = writer.is_alive();
            assert!(lives, "the writer stopped: {:?}", writer.hear());
            Ok(readers)
        });
    }
    ground.note(format!("{} records at the last looks", seen.into_inner()));
    Ok(())
}
