use crate::index::SlicedFilter;
use crate::model::Field;
use crate::sync::RwLock;

/// How many bytes the filters of a stream may take, which the fields that are asked for share: room
/// for two of ten million records in a thousand segments, of which each needs 4 MiB. With three a
/// look-up takes a tenth longer, with 21 in all no less than with 10.
const MOST_FILTER_BYTES: usize = 10 << 20;

/// Which segments may hold a key, for each keyed field. A lane stands for one segment for good, so
/// that lists of different times share the filters.
#[derive(Debug)]
pub(super) struct KeyFilters {
    of_fields: [RwLock<SlicedFilter>; Field::KEYED],
    /// How many bytes all of them may take.
    most_bytes: usize,
}

impl Default for KeyFilters {
    fn default() -> Self {
        Self::new(MOST_FILTER_BYTES)
    }
}

impl KeyFilters {
    fn new(most_bytes: usize) -> Self {
        let empty = |_| RwLock::new(SlicedFilter::new(most_bytes));
        Self { of_fields: std::array::from_fn(empty), most_bytes }
    }

    pub(super) fn of(&self, field: Field) -> Option<&RwLock<SlicedFilter>> {
        self.of_fields.get(field.key_index()?)
    }

    /// Bytes of memory that they hold.
    pub(super) fn memory(&self) -> usize {
        self.of_fields.iter().map(|filter| filter.read().memory()).sum()
    }

    /// Enters a segment into the filter of a field. When all of them hold more than they may, the
    /// largest are folded.
    pub(super) fn enter(&self, field: Field, lane: u32, seed: u64, heads: &[u32]) {
        let Some(filter) = self.of(field) else { return };
        filter.write().enter(lane, seed, heads);
        let largest = || self.of_fields.iter().max_by_key(|filter| filter.read().memory());
        while self.memory() > self.most_bytes
            && largest().is_some_and(|filter| filter.write().fold())
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A filter had a seventh of the memory, also where nobody asked for another field: of ten
    /// million records in a thousand segments a look-up searched one in vain, and took an eighth
    /// longer.
    #[test]
    fn fields_that_are_asked_for_share_the_memory_of_all() {
        let most = 256 << 10;
        let filters = KeyFilters::new(most);
        let memory_of = |field| filters.of(field).unwrap().read().memory();
        let heads: Vec<u32> = (0..1_000_u32).map(|key| key.wrapping_mul(0x9e37_79b9)).collect();
        let enter = |field, lanes: std::ops::Range<u32>| {
            for lane in lanes {
                filters.enter(field, lane, 7, &heads);
                assert!(filters.memory() <= most, "{} of {most}", filters.memory());
            }
        };
        enter(Field::Trace, 0..64);
        assert!(memory_of(Field::Trace) > most / 3, "one alone has much of it");
        enter(Field::Run, 0..64);
        let alike = memory_of(Field::Run);
        assert!(alike > most / 4 && memory_of(Field::Trace) == alike);
        Field::ALL.iter().for_each(|&field| enter(field, 64..128));
    }
}
