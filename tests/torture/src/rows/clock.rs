//! Clocks that jump, stand still, or were never set (row 16 of the reliability scorecard).

use std::path::Path;
use std::time::Duration;

use runledger::{Durability, Event, Kind, Ledger, Order, Result, Timestamp, verify};

use crate::disk::SimDisk;
use crate::ground::Ground;
use crate::rng::Rng;
use crate::workload::{DIR, options};

const HOUR: i64 = 3_600_000_000_000;
const YEAR: i64 = 365 * 24 * HOUR;

/// The clock's next time.
fn jump(disk: &SimDisk, now: i64, rng: &mut Rng) -> i64 {
    let next = match rng.below(9) {
        5 => now + 10 * YEAR,
        0 => now - HOUR,
        1 => now + HOUR,
        2 => now - 10 * YEAR,
        3 => 0,
        4 => 1_800_000_000_000_000_000,
        _ => now + 1_000_000,
    };
    disk.set_now(next);
    disk.set_tick(Duration::from_micros(if rng.below(4) == 0 { 0 } else { 1 }));
    next
}

/// What the ledger holds of events, by number: when each was created, as it says.
fn created(ledger: &Ledger) -> Result<Vec<(u64, Timestamp)>> {
    let page = ledger.query().order(Order::Seq).limit(usize::MAX / 2).fetch()?;
    page.records().map(|record| record.map(|r| (r.seq, r.body.created_at().unwrap()))).collect()
}

/// Time may do what it likes, and order and answers stay right.
pub(crate) fn order_and_answers(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(2, 200), |seed| jumping(seed).map(|()| 400));
    Ok(())
}

fn jumping(seed: u64) -> Result<()> {
    let mut disk = SimDisk::new(seed);
    let mut rng = Rng::new(seed);
    let mut ledger = options(&disk).open(Path::new(DIR))?;
    let mut given = Vec::new();
    let mut now = 1_800_000_000_000_000_000;
    for step in 0..400 {
        now = jump(&disk, now, &mut rng);
        let event = Event::new("tick").message("x".repeat(rng.below(1000)));
        let seq = ledger.append_with(event, Durability::Os)?;
        assert!(given.last().is_none_or(|&last| last < seq), "{seq} after {given:?}");
        given.push(seq);
        match step % 60 {
            29 => {
                let found = disk.kill();
                ledger = options(&found).open(Path::new(DIR))?;
                disk = found;
            }
            59 => {
                ledger.close()?;
                ledger = options(&disk).open(Path::new(DIR))?;
            }
            _ => {}
        }
    }
    let all = created(&ledger)?;
    assert_eq!(all.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), given);
    for (_, time) in all.iter().step_by(7) {
        let since = ledger.query().kind(Kind::Event).since(*time).count()?;
        let until = ledger.query().kind(Kind::Event).until(*time).count()?;
        let expected = all.iter().filter(|(_, other)| other >= time).count() as u64;
        assert_eq!((since, until), (expected, all.len() as u64 - expected), "at {time}");
    }
    let newest = ledger.query().limit(usize::MAX / 2).fetch()?;
    let mut expected: Vec<_> = all.iter().map(|(seq, time)| (*time, *seq)).collect();
    expected.sort_unstable();
    assert!(newest.seqs().eq(expected.iter().rev().map(|(_, seq)| *seq)), "the newest first");
    Ok(())
}

/// Whether an hour-old event is still there after retention was applied at another time.
fn survives(jumps: &[i64]) -> Result<bool> {
    let disk = SimDisk::new(17);
    let ledger = options(&disk).segment_age(Duration::from_secs(60)).open(Path::new(DIR))?;
    ledger.append(Event::new("kept"))?;
    disk.advance(Duration::from_secs(3600));
    for jump in jumps {
        let now = ledger.query().fetch()?.records().next().unwrap()?.recorded_at.as_nanos();
        disk.set_now(now + jump);
        ledger.append(Event::new("filler"))?;
        ledger.maintain()?;
    }
    Ok(ledger.query().record_type("kept").count()? == 1)
}

/// No jump of the clock drops what is young.
pub(crate) fn nothing_young_is_dropped(ground: &Ground) -> Result<()> {
    for jumps in [
        &[-HOUR][..],
        &[HOUR],
        &[-10 * YEAR],
        &[-10 * YEAR, 0],
        &[-1_800_000_000_000_000_000],
        &[-1_800_000_000_000_000_000, HOUR],
        &[10 * YEAR],
        &[10 * YEAR, 0, 10 * YEAR],
    ] {
        assert!(survives(jumps)?, "dropped after the clock went by {jumps:?}");
        ground.tried(1);
    }
    Ok(())
}

/// A record from the future keeps no other from expiring.
pub(crate) fn a_record_from_the_future(ground: &Ground) -> Result<()> {
    let disk = SimDisk::new(18);
    let ledger = options(&disk).segment_age(Duration::from_secs(60)).open(Path::new(DIR))?;
    ledger.append(Event::new("old"))?;
    let now = disk.now_without_tick();
    disk.set_now(now + 20 * YEAR);
    ledger.append(Event::new("from the future"))?;
    disk.set_now(now + HOUR);
    ledger.append(Event::new("old, too"))?;
    for _ in 0..40 {
        disk.advance(Duration::from_secs(86_400));
        ledger.append(Event::new("young"))?;
        ledger.maintain()?;
    }
    let old = ledger.query().record_type("old").record_type("old, too");
    assert_eq!(old.count()?, 0, "after 40 days, events are kept for 30");
    assert_eq!(ledger.query().record_type("from the future").count()?, 0);
    assert!(ledger.query().record_type("young").count()? >= 29);
    ground.tried(40);
    Ok(())
}

/// A clock that jumps at any look at it, in whatever the ledger is at: rolling, sealing, retention,
/// a sync in the background. Nothing is dropped before its time, no number goes back, and all of it
/// expires once the clock is right again.
pub(crate) fn at_any_look(ground: &Ground) -> Result<()> {
    ground.cases(ground.of(4, 400), |seed| jumping_at_any_look(seed).map(|()| 1));
    Ok(())
}

fn jumping_at_any_look(seed: u64) -> Result<()> {
    let disk = SimDisk::new(seed);
    let mut rng = Rng::new(seed);
    let start = disk.now_without_tick();
    let open = |background: bool| {
        let options = options(&disk).segment_age(Duration::from_secs(3600));
        options.background(background).interval(Duration::from_millis(1)).open(Path::new(DIR))
    };
    let mut ledger = open(false)?;
    let mut given: Vec<u64> = Vec::new();
    disk.set_jumps(Some((seed, vec![-HOUR, HOUR, -10 * YEAR, 10 * YEAR, i64::MIN])));
    for step in 0..120 {
        let level = [Durability::Sync, Durability::Os, Durability::Interval][rng.below(3)];
        let event = Event::new("tick").message("x".repeat(rng.below(3000)));
        let seq = ledger.append_with(event, level)?;
        assert!(given.last().is_none_or(|&last| last < seq), "{seq} after {given:?}");
        given.push(seq);
        match step % 40 {
            9 | 19 => ledger.maintain()?,
            29 => {
                disk.die(|| drop(ledger));
                ledger = open(rng.below(2) == 0)?;
            }
            39 => {
                ledger.close()?;
                drop(ledger);
                ledger = open(rng.below(2) == 0)?;
            }
            _ => {}
        }
    }
    ledger.maintain()?;
    let held: Vec<u64> = created(&ledger)?.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(held, given, "seed {seed}: not what was appended");
    let report = verify(DIR, disk.storage())?;
    assert!(!report.is_damaged(), "seed {seed}: {:?}", report.findings);
    disk.set_jumps(None);
    disk.set_now(start);
    for _ in 0..50 {
        disk.advance(Duration::from_secs(86_400));
        ledger.append(Event::new("young"))?;
        ledger.maintain()?;
    }
    let left = ledger.query().record_type("tick").count()?;
    assert_eq!(left, 0, "seed {seed}: after 50 days, events are kept for 30");
    Ok(())
}
