//! What one transaction writes.

use std::ops::Range;

/// A tree of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engines) enum Tree {
    /// From the number of a record to its kind, its sequence number and its bytes.
    Records,
    /// From the id of a run to the number of its record and its status.
    Runs,
    /// All fields' entries.
    Index,
}

/// Writes, in buffers that are used again.
#[derive(Debug, Default)]
pub(in crate::engines) struct Ops {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

#[derive(Debug)]
struct Op {
    tree: Tree,
    key: Range<usize>,
    /// Absent for a key to delete.
    value: Option<Range<usize>>,
}

impl Ops {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ops.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn put(&mut self, tree: Tree, key: &[u8], value: &[u8]) {
        let key = self.keep(key);
        let value = Some(self.keep(value));
        self.ops.push(Op { tree, key, value });
    }

    pub(super) fn delete(&mut self, tree: Tree, key: &[u8]) {
        let key = self.keep(key);
        self.ops.push(Op { tree, key, value: None });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Puts them in the order of keys, in which trees take them best. Writes to one key stay in
    /// their order.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |op: &Op| bytes.get(op.key.clone()).unwrap_or_default();
        self.ops.sort_by(|a, b| (a.tree, key(a)).cmp(&(b.tree, key(b))));
    }

    /// Each write: a value to put, or none for a key to delete.
    pub(in crate::engines) fn iter(&self) -> impl Iterator<Item = (Tree, &[u8], Option<&[u8]>)> {
        let bytes = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        self.ops.iter().map(move |op| (op.tree, bytes(&op.key), op.value.as_ref().map(bytes)))
    }
}
