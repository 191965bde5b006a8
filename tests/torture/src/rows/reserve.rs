//! Space held back for a full disk: the ends of runs and clean-up get through, everything else is
//! refused until there is space again, and one note tells of all that was refused (row 8).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runledger::storage::Disk;
use runledger::{
    Cleanup, Durability, Error, Event, Kind, Ledger, Options, Reader, Result, Run, Status, verify,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::check::check;
use crate::disk::{Cut, Keep, KeepNames, OpKind, SimDisk};
use crate::ground::{Ground, Size};
use crate::oracle::{Crash, SharedOracle, mark};
use crate::real::image::{Format, Image};
use crate::real::place::Place;
use crate::rng::Rng;
use crate::workload::{DIR, Writer, options, run};

const RESERVE: u64 = 128 << 10;
const RUNS: usize = 30;

fn open(disk: &SimDisk, oracle: &SharedOracle, seed: u64) -> Result<Writer> {
    let ledger = options(disk).reserve_bytes(RESERVE).open(DIR)?;
    oracle.lock().opened();
    Ok(Writer::over(ledger, oracle, seed))
}

fn say(writer: &Writer, id: &str, status: Status, size: usize) -> Result<()> {
    let durability = Durability::Sync;
    writer.append(|batch| vec![run(id, &mark(batch, 0), status, size)], durability).map(drop)
}

/// Appends events until the disk refuses.
fn fill(writer: &Writer, size: usize) {
    loop {
        match writer.append_event(size, Durability::Sync) {
            Ok(_) => {}
            Err(Error::NoSpace { .. }) => return,
            Err(other) => panic!("a full disk is told as {other}"),
        }
    }
}

fn holds_its_space(disk: &SimDisk) -> bool {
    disk.peek(&Path::new(DIR).join("RESERVE")).len() as u64 >= RESERVE
}

fn noted(ledger: &Ledger, note: &'static str) -> u64 {
    ledger.reader().audit().record_type(note).count().unwrap()
}

/// Cuts the power at each change that is made to the file that holds the space.
fn cut_around_the_reserve(disk: &SimDisk, oracle: &SharedOracle, seed: u64) -> Arc<Mutex<u64>> {
    let (oracle, tried) = (oracle.clone(), Arc::new(Mutex::new(0)));
    let (count, mut rng) = (Arc::clone(&tried), Rng::new(seed));
    disk.set_probe(move |moment| {
        let of_reserve = moment.op.path.ends_with("RESERVE");
        if !of_reserve && moment.op.kind != OpKind::Allocate {
            return;
        }
        let files = Keep::ALL[rng.below(Keep::ALL.len())];
        let names = KeepNames::ALL[rng.below(KeepNames::ALL.len())];
        let cut = Cut { files, names, seed: rng.number() };
        let label = format!("before {:?}, {cut:?}", moment.op);
        check(&moment.cut(cut), &oracle.lock(), Crash::Power, &label);
        *count.lock() += 1;
    });
    tried
}

/// On a full disk runs end and clean-up works; with space again everything goes on.
pub(crate) fn ends_of_runs_get_through(ground: &Ground) -> Result<()> {
    ground.numbered_cases(ground.of(12, 200), |case, seed| {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let capacity = 600_000 + case * 4096;
        let writer = open(&disk, &oracle, seed)?;
        for number in 0..RUNS {
            say(&writer, &format!("r{number}"), Status::Running, 200)?;
        }
        disk.set_capacity(Some(capacity));
        fill(&writer, 900);
        let start = |number| say(&writer, &format!("more-{number}"), Status::Running, 900);
        let full = (0..10_000).find_map(|number| start(number).err());
        assert!(matches!(full, Some(Error::NoSpace { .. })), "{full:?}");
        let tried = cut_around_the_reserve(&disk, &oracle, seed);
        let mut refused = 2;
        for number in 0..RUNS {
            say(&writer, &format!("r{number}"), Status::Failed, 300)?;
            let event = writer.append_event(8_000, Durability::Sync).map(drop);
            let open = say(&writer, &format!("new-{number}"), Status::Running, 8_000);
            for other in [event, open] {
                match other {
                    Err(Error::NoSpace { .. }) => refused += 1,
                    // Where a segment was sealed, what had been reserved for it is free.
                    Ok(()) => assert!(holds_its_space(&disk), "it takes of the reserve"),
                    Err(err) => panic!("a full disk is told as {err}"),
                }
            }
        }
        writer.ledger.maintain()?;
        assert_eq!(noted(&writer.ledger, "disk.full"), 0, "no note for as long as it is full");
        disk.set_capacity(Some(capacity + 2_000_000));
        writer.append_event(8_000, Durability::Sync)?;
        assert!(holds_its_space(&disk), "it is not made anew");
        writer.ledger.maintain()?;
        disk.clear_hooks();
        assert_eq!(noted(&writer.ledger, "disk.full"), 1, "one note for all");
        let losses = writer.ledger.reader().losses()?;
        assert_eq!((losses.refused_for_space, losses.refused_appends), (refused, refused));
        check(&disk.kill(), &oracle.lock(), Crash::Kill, &format!("{capacity}"));
        Ok(1 + *tried.lock())
    });
    Ok(())
}

/// Clean-up frees a disk that is full to the last block, and carries open runs on.
pub(crate) fn clean_up_out_of_the_reserve(ground: &Ground) -> Result<()> {
    ground.numbered_cases(ground.of(6, 200), |case, seed| {
        let disk = SimDisk::new(seed);
        let oracle = SharedOracle::default();
        let writer = open(&disk, &oracle, seed)?;
        for number in 0..RUNS {
            say(&writer, &format!("r{number}"), Status::Running, 200)?;
            say(&writer, &format!("done-{number}"), Status::Skipped, 200)?;
        }
        fill_segments(&writer)?;
        disk.set_capacity(Some(disk.used() + case * 1024));
        fill(&writer, 500);
        disk.advance(Duration::from_secs(400 * 24 * 60 * 60));
        let report = writer.ledger.cleanup(&Cleanup::older_than(Duration::from_secs(1)), false)?;
        assert_eq!(report.carried, RUNS as u64, "open runs are carried forward");
        assert!(report.dropped().count() > 1, "{report:?}");
        writer.append_event(3_000, Durability::Sync)?;
        assert_eq!(writer.ledger.query().status(Status::Running).count()?, RUNS as u64);
        Ok(1)
    });
    Ok(())
}

/// Several full segments.
fn fill_segments(writer: &Writer) -> Result<()> {
    for _ in 0..300 {
        writer.append_event(900, Durability::Os)?;
    }
    writer.ledger.maintain()
}

/// A file system in memory that is soon full; unmounted when it is dropped.
struct Small(Place);

impl Small {
    fn mount() -> std::result::Result<Self, String> {
        let place = Place::new().map_err(|err| format!("no directory to mount at: {err}"))?;
        mount("tmpfs", place.path(), "tmpfs", MountFlags::empty(), Some(c"size=4m"))
            .map_err(|err| format!("a file system in memory cannot be mounted: {err}"))?;
        Ok(Self(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// The same on file systems of this machine that are small.
pub(crate) fn on_small_file_systems(ground: &Ground) -> Result<()> {
    match Small::mount() {
        Ok(small) => ground.guarded("tmpfs", || on_a_full_disk(small.0.path())),
        Err(reason) => ground.skip(1, reason),
    }
    if ground.size == Size::Full {
        let image = Image::new(Format::Ext4).and_then(|mut image| {
            image.mount().map_err(|err| format!("ext4 cannot be mounted: {err}"))?;
            Ok(image)
        });
        match image {
            Ok(image) => ground.guarded("ext4", || on_a_full_disk(image.at())),
            Err(reason) => ground.skip(1, reason),
        }
    }
    Ok(())
}

fn on_a_full_disk(at: &Path) -> Result<u64> {
    let dir = at.join("ledger");
    let options = || Options::new().background(false).segment_bytes(1 << 20);
    let ledger = options().open(&dir)?;
    for number in 0..RUNS {
        ledger.append(Run::new(format!("r{number}"), "t", Status::Running)?)?;
    }
    let text = "x".repeat(4_000);
    let event = || ledger.append(Event::new("filler").message(text.as_str())).err();
    let full = (0..100_000).find_map(|_| event());
    assert!(matches!(full, Some(Error::NoSpace { .. })), "{full:?}");
    // Whatever else takes the last blocks.
    let ballast = at.join("ballast");
    let _ = std::fs::write(&ballast, vec![1; 64 << 20]);
    for number in 0..RUNS {
        let run = Run::new(format!("r{number}"), "t", Status::Success)?;
        ledger.append_with(run, Durability::Sync)?;
        assert!(matches!(event(), Some(Error::NoSpace { .. })), "the disk is full");
    }
    ledger.close()?;
    // A handle that is closed can be read, and keeps the space of what is dropped from being freed.
    drop(ledger);
    assert_eq!(Reader::open(&dir)?.losses()?.refused_for_space, 1 + RUNS as u64);
    let ledger = options().create(false).open(&dir)?;
    std::thread::sleep(Duration::from_millis(5));
    let everything = Cleanup::older_than(Duration::from_millis(1)).kind(Kind::Event);
    assert!(ledger.cleanup(&everything, false)?.dropped().count() > 0, "clean-up makes room");
    ledger.append(Event::new("after").message(text.as_str()))?;
    ledger.close()?;
    let report = verify(&dir, Arc::new(Disk))?;
    assert!(!report.is_damaged(), "{:?}", report.findings);
    Ok(1)
}
