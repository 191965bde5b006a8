//! redb.

use std::cell::OnceCell;

use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition,
};

use super::CACHE_BYTES;
use super::kv::{Ops, Store, Tree, View, Visit};
use crate::Outcome;
use crate::engine::{Level, Setup};

pub(super) const SETTINGS: &str = "cache 1 GiB; three tables, keys of a batch in order; bulk \
     Durability::None, which is weaker than the others (a killed process loses it), and one \
     Immediate commit with quick repair at the end; durable: Durability::Immediate; it has no \
     group commit";

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const RECORDS: Definition = TableDefinition::new("records");
const RUNS: Definition = TableDefinition::new("runs");
const INDEX: Definition = TableDefinition::new("index");

pub(super) struct Redb {
    database: Database,
    level: Level,
}

impl Redb {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let path = setup.dir.join("redb");
        let mut builder = Database::builder();
        builder.set_cache_size(usize::try_from(CACHE_BYTES)?);
        if path.exists() {
            return Ok(Self { database: builder.open(path)?, level: setup.level });
        }
        let database = builder.create(path)?;
        let txn = database.begin_write()?;
        for table in [RECORDS, RUNS, INDEX] {
            txn.open_table(table)?;
        }
        txn.commit()?;
        Ok(Self { database, level: setup.level })
    }
}

impl Store for Redb {
    fn write(&self, ops: &Ops) -> Outcome {
        let mut txn = self.database.begin_write()?;
        if self.level == Level::Os {
            txn.set_durability(Durability::None)?;
        }
        {
            let mut records = txn.open_table(RECORDS)?;
            let mut runs = txn.open_table(RUNS)?;
            let mut index = txn.open_table(INDEX)?;
            for (tree, key, value) in ops.iter() {
                let table = match tree {
                    Tree::Records => &mut records,
                    Tree::Runs => &mut runs,
                    Tree::Index => &mut index,
                };
                match value {
                    Some(value) => drop(table.insert(key, value)?),
                    None => drop(table.remove(key)?),
                }
            }
        }
        Ok(txn.commit()?)
    }

    fn read(&self, work: &mut dyn FnMut(&dyn View) -> Outcome) -> Outcome {
        work(&Snapshot { txn: self.database.begin_read()?, tables: Default::default() })
    }

    fn settle(&self) -> Outcome {
        let mut txn = self.database.begin_write()?;
        txn.set_quick_repair(true);
        Ok(txn.commit()?)
    }

    fn close(self) -> Outcome {
        self.settle()
    }
}

/// A transaction, and the tables that it has opened: each once, when it is needed.
struct Snapshot {
    txn: ReadTransaction,
    tables: [OnceCell<Table>; 3],
}

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Snapshot {
    fn open(&self, tree: Tree) -> Outcome<&Table> {
        let [records, runs, index] = &self.tables;
        let (cell, definition) = match tree {
            Tree::Records => (records, RECORDS),
            Tree::Runs => (runs, RUNS),
            Tree::Index => (index, INDEX),
        };
        if let Some(table) = cell.get() {
            return Ok(table);
        }
        let table = self.txn.open_table(definition)?;
        Ok(cell.get_or_init(|| table))
    }
}

impl View for Snapshot {
    fn get(&self, tree: Tree, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Outcome {
        if let Some(value) = self.open(tree)?.get(key)? {
            see(value.value());
        }
        Ok(())
    }

    fn scan(&self, range: &(Vec<u8>, Vec<u8>), reverse: bool, visit: Visit<'_>) -> Outcome {
        let mut entries = self.open(Tree::Index)?.range(range.0.as_slice()..range.1.as_slice())?;
        while let Some(entry) = if reverse { entries.next_back() } else { entries.next() } {
            let (key, value) = entry?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last_number(&self) -> Outcome<u64> {
        let last = self.open(Tree::Records)?.last()?;
        Ok(last.map_or(0, |(key, _)| super::kv::number(key.value())))
    }
}
