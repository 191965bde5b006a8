use std::ops::ControlFlow;

use hashbrown::HashTable;

use crate::index::{Code, Row};

/// No code, or no earlier row.
pub(super) const NONE: u32 = u32::MAX;

/// The keys of one field: each key once, and for each the chain of its rows, newest first.
///
/// The chains are linked when they are asked for. A segment that is sealed before anyone asks, as
/// most are in a bulk load, never needs them.
#[derive(Debug, Default)]
pub(super) struct Keys {
    table: HashTable<Code>,
    keys: Vec<Key>,
    /// The bytes of all keys, one after the other.
    arena: Vec<u8>,
    /// For each row the code of its key. Shorter than the table when the last rows have none.
    codes: Vec<Code>,
    /// For each row the row before it that carries the same key, as far as they are linked.
    previous: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    hash: u64,
    start: u32,
    len: u16,
    /// The newest row, and how many there are, of those that are linked.
    newest: Row,
    count: u32,
}

impl Keys {
    /// Notes that `row`, which is above all rows noted before, carries the key.
    /// False, with nothing changed, when there is no room for so many bytes of keys.
    pub(super) fn insert(&mut self, row: Row, hash: u64, key: &[u8]) -> bool {
        let code = match self.find_hashed(hash, key) {
            Some(code) => code,
            None => match self.add(hash, key) {
                Some(code) => code,
                None => return false,
            },
        };
        self.codes.resize(row as usize, NONE);
        self.codes.push(code);
        true
    }

    /// No keys, in the memory that these were held in.
    pub(super) fn emptied(self) -> Self {
        let Self { mut table, mut keys, mut arena, mut codes, mut previous } = self;
        table.clear();
        keys.clear();
        arena.clear();
        codes.clear();
        previous.clear();
        Self { table, keys, arena, codes, previous }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.previous.len() == self.codes.len()
    }

    /// Links the rows that were entered since the last call.
    pub(super) fn link(&mut self) {
        let linked = self.previous.len();
        let new = self.codes.get(linked..).unwrap_or_default();
        self.previous.reserve(new.len());
        for (&code, row) in new.iter().zip(u32::try_from(linked).unwrap_or(NONE)..) {
            let previous = self.keys.get_mut(code as usize).map_or(NONE, |key| {
                key.count += 1;
                std::mem::replace(&mut key.newest, row)
            });
            self.previous.push(previous);
        }
    }

    fn add(&mut self, hash: u64, key: &[u8]) -> Option<Code> {
        let code = Code::try_from(self.keys.len()).ok()?;
        let start = u32::try_from(self.arena.len()).ok()?;
        let len = u16::try_from(key.len()).ok()?;
        self.arena.extend_from_slice(key);
        self.keys.push(Key { hash, start, len, newest: NONE, count: 0 });
        let keys = &self.keys;
        self.table
            .insert_unique(hash, code, |&code| keys.get(code as usize).map_or(0, |key| key.hash));
        Some(code)
    }

    pub(super) fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<Code> {
        self.table
            .find(hash, |&code| {
                self.keys.get(code as usize).is_some_and(|entry| entry.hash == hash)
                    && self.bytes(code) == key
            })
            .copied()
    }

    /// The bytes of a key.
    pub(super) fn bytes(&self, code: Code) -> &[u8] {
        self.keys
            .get(code as usize)
            .and_then(|key| {
                let start = key.start as usize;
                self.arena.get(start..start + usize::from(key.len))
            })
            .unwrap_or_default()
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn hash(&self, code: Code) -> u64 {
        self.keys.get(code as usize).map_or(0, |key| key.hash)
    }

    pub(super) fn count(&self, code: Code) -> u32 {
        self.keys.get(code as usize).map_or(0, |key| key.count)
    }

    fn newest(&self, code: Code) -> Option<Row> {
        self.keys.get(code as usize).map(|key| key.newest)
    }

    pub(super) fn codes(&self) -> &[Code] {
        &self.codes
    }

    pub(super) fn code(&self, row: Row) -> Option<Code> {
        self.codes.get(row as usize).copied().filter(|&code| code != NONE)
    }

    pub(super) fn for_each(&self, code: Code, visit: &mut dyn FnMut(Row) -> ControlFlow<()>) {
        let mut next = self.newest(code);
        while let Some(row) = next.filter(|&row| row != NONE) {
            if visit(row).is_break() {
                return;
            }
            next = self.previous.get(row as usize).copied();
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.table.allocation_size()
            + self.keys.capacity() * size_of::<Key>()
            + self.arena.capacity()
            + (self.codes.capacity() + self.previous.capacity()) * size_of::<u32>()
    }
}
