use std::collections::BTreeSet;

use runledger::storage::{File, OpenMode};

use super::*;

const DIR: &str = "/d";

fn disk() -> SimDisk {
    let disk = SimDisk::new(7);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A file with this content, synced, its name too.
fn stored(disk: &SimDisk, name: &str, content: &[u8]) -> Arc<dyn File> {
    let file = disk.open(&path(name), OpenMode::CreateNew).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file
}

fn cut(files: Keep, names: KeepNames, seed: u64) -> Cut {
    Cut { files, names, seed }
}

fn after(disk: &SimDisk, files: Keep, seed: u64) -> Vec<u8> {
    disk.fork().power_cut(cut(files, KeepNames::All, seed)).peek(&path("a"))
}

#[test]
fn what_was_synced_survives_every_cut_and_what_was_not_can_go() {
    for keep in Keep::ALL {
        let mut images = BTreeSet::new();
        for seed in 0..200 {
            let disk = disk();
            let file = stored(&disk, "a", &[1; 700]);
            file.write_at(&[2; 2000], 700).unwrap();
            let image = after(&disk, keep, seed);
            assert_eq!(image[..700], [1; 700], "{keep:?} {seed}");
            images.insert(image);
        }
        let least = match keep {
            Keep::Nothing => 1,
            Keep::Prefix => 4,
            Keep::Sectors | Keep::Zeros => 10,
            Keep::Garbage => 100,
        };
        assert!(images.len() >= least, "{keep:?} made {} images", images.len());
        assert_eq!(
            images.contains(&vec![1; 700]),
            matches!(keep, Keep::Nothing | Keep::Prefix | Keep::Sectors)
        );
    }
}

#[test]
fn sectors_can_arrive_out_of_order_and_leave_zero_tails() {
    let disk = disk();
    let file = stored(&disk, "a", b"");
    for sector in 0..4_u8 {
        file.write_at(&[sector + 1; 512], u64::from(sector) * 512).unwrap();
    }
    let images: Vec<_> = (0..500).map(|seed| after(&disk, Keep::Sectors, seed)).collect();
    let hole = |image: &Vec<u8>| image.len() == 2048 && image[0] == 0 && image[2047] == 4;
    let tail = |image: &Vec<u8>| image.len() == 2048 && image[0] == 1 && image[2047] == 0;
    assert!(images.iter().any(hole), "no image has a hole");
    assert!(images.iter().any(tail), "no image has a zero tail");
    assert!(images.iter().any(|image| image.len() == 512), "the length is always the last");
}

#[test]
fn a_truncation_that_is_not_synced_can_come_undone_but_not_half() {
    let disk = disk();
    let file = stored(&disk, "a", &[1; 1024]);
    file.set_len(512).unwrap();
    let images: BTreeSet<_> = (0..200).map(|seed| after(&disk, Keep::Sectors, seed)).collect();
    assert!(images.contains(&vec![1; 512]) && images.contains(&vec![1; 1024]));
    assert_eq!(after(&disk, Keep::Nothing, 0), [1; 1024]);
}

#[test]
fn names_come_and_go_apart_from_content() {
    let disk = disk();
    stored(&disk, "old", b"old");
    stored(&disk, "gone", b"gone");
    let file = disk.open(&path("new"), OpenMode::CreateNew).unwrap();
    file.write_at(b"new", 0).unwrap();
    file.sync().unwrap();
    disk.rename(&path("new"), &path("old")).unwrap();
    disk.remove(&path("gone")).unwrap();
    assert_eq!(disk.files(), [path("old")]);

    let none = disk.fork().power_cut(cut(Keep::Nothing, KeepNames::Nothing, 0));
    assert_eq!(none.files(), [path("gone"), path("old")]);
    assert_eq!(none.peek(&path("old")), b"old");
    let all = disk.fork().power_cut(cut(Keep::Nothing, KeepNames::All, 0));
    assert_eq!(all.peek(&path("old")), b"new");
    assert_eq!(all.files().len(), 1);
    let prefixes: BTreeSet<_> = (0..100)
        .map(|seed| disk.fork().power_cut(cut(Keep::Nothing, KeepNames::Prefix, seed)).files())
        .collect();
    assert_eq!(prefixes.len(), 3, "{prefixes:?}");

    disk.sync_dir(Path::new(DIR)).unwrap();
    let kept = disk.power_cut(cut(Keep::Nothing, KeepNames::Nothing, 0));
    assert_eq!(kept.files(), [path("old")]);
}

#[test]
fn a_directory_that_was_not_synced_takes_its_files_along() {
    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("/a/b")).unwrap();
    let file = disk.open(Path::new("/a/b/c"), OpenMode::CreateNew).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/a/b")).unwrap();
    disk.sync_dir(Path::new("/a")).unwrap();
    let nothing = cut(Keep::Nothing, KeepNames::Nothing, 0);
    assert!(disk.fork().power_cut(nothing).files().is_empty());
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(disk.fork().power_cut(nothing).files().len(), 1);
}

#[test]
fn a_lost_sync_serves_the_cache_and_loses_the_platter() {
    let disk = disk();
    let file = stored(&disk, "a", b"kept");
    file.write_at(b"lost", 4).unwrap();
    let mut left = 1;
    disk.set_faults(move |op| {
        (op.kind == OpKind::Sync && std::mem::take(&mut left) == 1).then_some(Fault::LostSync)
    });
    assert!(matches!(file.sync(), Err(Error::Io { .. })));
    file.sync().unwrap();
    file.write_at(b"then", 8).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.peek(&path("a")), b"keptlostthen");
    assert_eq!(after(&disk, Keep::Nothing, 0), b"kept\0\0\0\0then");
}

#[test]
fn space_runs_out_and_comes_back() {
    let disk = disk();
    let file = stored(&disk, "a", &[1; 4096]);
    disk.set_capacity(Some(12_288));
    assert!(matches!(file.allocate(20_000), Err(Error::NoSpace { .. })));
    assert_eq!((file.len().unwrap(), disk.used()), (4096, 4096));
    assert!(matches!(file.write_at(&[2; 10_000], 4000), Err(Error::NoSpace { .. })));
    assert_eq!((file.len().unwrap(), disk.used()), (12_288, 12_288));
    file.write_at(b"in place", 0).unwrap();
    disk.remove(&path("a")).unwrap();
    assert_eq!(disk.used(), 12_288);
    drop(file);
    assert_eq!(disk.used(), 0);
    let sparse = disk.open(&path("b"), OpenMode::CreateNew).unwrap();
    sparse.set_len(1 << 20).unwrap();
    assert_eq!(disk.used(), 0);
    disk.set_reserving(false);
    sparse.allocate(1 << 20).unwrap();
    assert_eq!(disk.used(), 0);
}

#[test]
fn faults_name_the_operation_and_short_writes_leave_their_part() {
    let disk = disk();
    let file = stored(&disk, "a", b"");
    disk.set_faults(|op| match op.kind {
        OpKind::Write => Some(Fault::Short(3)),
        OpKind::Rename => Some(Fault::Io),
        _ => None,
    });
    assert!(matches!(file.write_at(b"hello", 0), Err(Error::NoSpace { .. })));
    assert_eq!(disk.peek(&path("a")), b"hel");
    let err = disk.rename(&path("a"), &path("b")).unwrap_err();
    assert!(err.to_string().starts_with("cannot rename /d/a: Input/output error"), "{err}");
    assert_eq!(disk.files(), [path("a")]);
}

#[test]
fn a_kill_keeps_what_was_written_and_frees_the_lock() {
    let disk = disk();
    let lock = disk.lock(&path("LOCK"), "pid=42 host=here").unwrap();
    let file = stored(&disk, "a", b"");
    file.write_at(b"unsynced", 0).unwrap();
    match disk.lock(&path("LOCK"), "pid=43").map(|_| ()).unwrap_err() {
        Error::Locked { pid, .. } => assert_eq!(pid, Some(42)),
        other => panic!("{other}"),
    }
    let found = disk.kill();
    assert!(file.write_at(b"x", 0).is_err() && disk.list(Path::new(DIR)).is_err());
    assert_eq!(found.peek(&path("a")), b"unsynced");
    let again = found.lock(&path("LOCK"), "pid=44").unwrap();
    drop(lock);
    assert!(found.lock(&path("LOCK"), "pid=45").is_err());
    drop(again);
    assert!(found.lock(&path("LOCK"), "pid=45").is_ok());
    assert_eq!(after(&found, Keep::Nothing, 0), b"");
}

#[test]
fn a_probe_sees_the_disk_before_each_change() {
    let disk = disk();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    disk.set_probe(move |moment| {
        let image = moment.kill();
        log.lock().push((moment.op.kind, image.files().len()));
    });
    stored(&disk, "a", b"x");
    disk.remove(&path("a")).unwrap();
    let kinds = [
        (OpKind::Create, 0),
        (OpKind::Write, 1),
        (OpKind::Sync, 1),
        (OpKind::SyncDir, 1),
        (OpKind::Remove, 1),
    ];
    assert_eq!(*seen.lock(), kinds);
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let random = disk.random().unwrap();
        let times = (disk.now(), disk.now(), disk.monotonic());
        (random, times)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3).0, run(4).0);
    let disk = SimDisk::new(0);
    disk.set_tick(Duration::ZERO);
    disk.set_now(-5);
    disk.advance(Duration::from_nanos(3));
    assert_eq!((disk.now(), disk.now()), (-2, -2));
}

/// Files that were copies of what a crash tore were as old as the world after a power cut, and
/// retention removed them as expired.
#[test]
fn a_power_cut_makes_no_file_old() {
    let disk = disk();
    stored(&disk, "a", &[1; 100]);
    let modified = |disk: &SimDisk| disk.list(Path::new(DIR)).unwrap()[0].modified;
    let before = modified(&disk);
    assert!(before > 0);
    let cut = cut(Keep::Nothing, KeepNames::All, 1);
    assert_eq!(modified(&disk.power_cut(cut)), before);
}

#[test]
fn maps_are_copies_of_what_was_asked_for() {
    let disk = disk();
    let file = stored(&disk, "a", &[1; 100]);
    let map = file.map(60).unwrap();
    file.write_at(&[2; 100], 0).unwrap();
    assert_eq!(map.as_slice(), [1; 60]);
    assert!(map.covers(60) && !map.covers(61));
    assert!(matches!(file.map(101), Err(Error::Damaged { offset: 100, .. })));
}
