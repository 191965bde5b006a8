//! fjall.

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot as FjallSnapshot,
};

use super::CACHE_BYTES;
use super::kv::{Ops, Store, Tree, View, Visit};
use crate::Outcome;
use crate::engine::{Level, Setup};

pub(super) const SETTINGS: &str = "cache 1 GiB, else the defaults (LZ4); three keyspaces; bulk \
     PersistMode::Buffer, in the kernel on return; durable: PersistMode::SyncData; it has no group \
     commit";

pub(super) struct Fjall {
    database: Database,
    trees: [Keyspace; 3],
    level: Level,
}

impl Fjall {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let builder = Database::builder(setup.dir.join("fjall"));
        let database = builder.cache_size(u64::from(CACHE_BYTES)).open()?;
        let open = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let trees = [open("records")?, open("runs")?, open("index")?];
        Ok(Self { database, trees, level: setup.level })
    }

    const fn tree(&self, tree: Tree) -> &Keyspace {
        let [records, runs, index] = &self.trees;
        match tree {
            Tree::Records => records,
            Tree::Runs => runs,
            Tree::Index => index,
        }
    }
}

impl Store for Fjall {
    fn write(&self, ops: &Ops) -> Outcome {
        let mut batch = self.database.batch().durability(Some(match self.level {
            Level::Os => PersistMode::Buffer,
            Level::Sync => PersistMode::SyncData,
        }));
        for (tree, key, value) in ops.iter() {
            match value {
                Some(value) => batch.insert(self.tree(tree), key, value),
                None => batch.remove(self.tree(tree), key),
            }
        }
        Ok(batch.commit()?)
    }

    fn read(&self, work: &mut dyn FnMut(&dyn View) -> Outcome) -> Outcome {
        work(&Snapshot { store: self, snapshot: self.database.snapshot() })
    }

    fn close(self) -> Outcome {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

struct Snapshot<'a> {
    store: &'a Fjall,
    snapshot: FjallSnapshot,
}

impl View for Snapshot<'_> {
    fn get(&self, tree: Tree, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome {
        if let Some(value) = self.snapshot.get(self.store.tree(tree), key)? {
            see(&value);
        }
        Ok(())
    }

    fn scan(&self, range: &(Vec<u8>, Vec<u8>), reverse: bool, visit: Visit<'_>) -> Outcome {
        let range = range.0.as_slice()..range.1.as_slice();
        let mut entries = self.snapshot.range(self.store.tree(Tree::Index), range);
        while let Some(entry) = if reverse { entries.next_back() } else { entries.next() } {
            let (key, value) = entry.into_inner()?;
            if visit(&key, &value)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last_number(&self) -> Outcome<u64> {
        let Some(last) = self.snapshot.last_key_value(self.store.tree(Tree::Records)) else {
            return Ok(0);
        };
        Ok(super::kv::number(&last.key()?))
    }
}
