//! LMDB, by heed.

use std::ops::Bound;
use std::sync::Mutex;

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};

use super::kv::{Ops, Store, Tree, View, Visit};
use crate::Outcome;
use crate::engine::{Level, Setup};

pub(super) const SETTINGS: &str = "heed; three trees (records, runs, index), keys of a batch in \
     order, records with MDB_APPEND; bulk MDB_NOSYNC and MDB_WRITEMAP (twice as \
     fast as without), in the kernel on return; durable: the default, a sync of data and of the \
     meta page; it has no group commit";

/// LMDB's own.
pub(super) fn version() -> String {
    let version = heed::lmdb_version();
    format!("{}.{}.{}", version.major, version.minor, version.patch)
}

/// Room for the map: more than any run here needs. No memory or disk is taken by it.
const MAP_BYTES: usize = 64 << 30;

type Database = heed::Database<'static, Bytes, Bytes>;

pub(super) struct Lmdb {
    env: Env,
    trees: [Database; 3],
    level: Level,
    /// The highest number of a record; those above it are appended.
    last: Mutex<Vec<u8>>,
}

impl Lmdb {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(3);
        let dir = setup.dir.join("lmdb");
        std::fs::create_dir_all(&dir)?;
        let env = open_env(&mut options, &dir, setup.level)?;
        let opened = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
            let mut open = |name| opener.create_database::<Bytes, Bytes>(txn, Some(name));
            let trees = (open("records")?, open("runs")?, open("index")?);
            heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(trees))
        })?;
        let (records, runs, index) = opened.commit().ok_or("the trees cannot be made")?;
        let txn = env.read_txn()?;
        let last = records.last(&txn)?.map(|(key, _)| key.to_vec());
        drop(txn);
        let last = Mutex::new(last.unwrap_or_default());
        Ok(Self { env, trees: [records, runs, index], level: setup.level, last })
    }

    const fn tree(&self, tree: Tree) -> Database {
        let [records, runs, index] = self.trees;
        match tree {
            Tree::Records => records,
            Tree::Runs => runs,
            Tree::Index => index,
        }
    }
}

#[expect(unsafe_code, reason = "heed has no other way to open an environment")]
fn open_env(
    options: &mut EnvOpenOptions<WithTls>,
    dir: &std::path::Path,
    level: Level,
) -> Outcome<Env> {
    // SAFETY: the directory is this benchmark's own, and no other process or environment of this
    // process has it open; without a sync nothing is lost unless the machine stops, and then the
    // whole directory is thrown away.
    unsafe {
        if level == Level::Os {
            options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP);
        }
        Ok(options.open(dir)?)
    }
}

impl Store for Lmdb {
    fn write(&self, ops: &Ops) -> Outcome {
        let mut last = self.last.lock().map_err(|_| "an append has panicked")?;
        let mut txn = self.env.write_txn()?;
        for (tree, key, value) in ops.iter() {
            let database = self.tree(tree);
            match value {
                Some(value) if tree == Tree::Records && key > last.as_slice() => {
                    database.put_with_flags(&mut txn, PutFlags::APPEND, key, value)?;
                    last.clear();
                    last.extend_from_slice(key);
                }
                Some(value) => database.put(&mut txn, key, value)?,
                None => {
                    database.delete(&mut txn, key)?;
                }
            }
        }
        Ok(txn.commit()?)
    }

    fn read(&self, work: &mut dyn FnMut(&dyn View) -> Outcome) -> Outcome {
        work(&Snapshot { store: self, txn: self.env.read_txn()? })
    }

    fn close(self) -> Outcome {
        if self.level == Level::Os {
            self.env.force_sync()?;
        }
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct Snapshot<'a> {
    store: &'a Lmdb,
    txn: RoTxn<'a, WithTls>,
}

impl View for Snapshot<'_> {
    fn get(&self, tree: Tree, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome {
        if let Some(value) = self.store.tree(tree).get(&self.txn, key)? {
            see(value);
        }
        Ok(())
    }

    fn scan(&self, range: &(Vec<u8>, Vec<u8>), reverse: bool, visit: Visit<'_>) -> Outcome {
        let (from, to) = (range.0.as_slice(), range.1.as_slice());
        let range = (Bound::Included(from), Bound::Excluded(to));
        let index = self.store.tree(Tree::Index);
        if reverse {
            for entry in index.rev_range(&self.txn, &range)? {
                let (key, value) = entry?;
                if visit(key, value)?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        for entry in index.range(&self.txn, &range)? {
            let (key, value) = entry?;
            if visit(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last_number(&self) -> Outcome<u64> {
        let last = self.store.tree(Tree::Records).last(&self.txn)?;
        Ok(last.map_or(0, |(key, _)| super::kv::number(key)))
    }
}
