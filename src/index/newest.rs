use hashbrown::HashTable;

/// Into how many tables the places are divided. One that grows is copied as a whole, while an
/// append waits: small ones are copied in no time.
const SHARDS: usize = 64;

/// Where the newest state of each run of a segment lies. An append of a run looks here, as the
/// other index of a segment that is written may be behind.
#[derive(Debug)]
pub(crate) struct NewestStates {
    shards: [HashTable<StatePlace>; SHARDS],
}

/// Where a state of a run lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatePlace {
    /// The hash of the run's key. Another run's may be the same.
    pub hash: u64,
    /// The record's sequence number.
    pub seq: u64,
    /// Where its frame begins.
    pub frame: u32,
    /// Where the record lies.
    pub offset: u32,
}

/// The newest states of the runs whose keys have one hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnderHash {
    /// There are none.
    None,
    /// There is one, as good as always that of the run that is asked for.
    One(StatePlace),
    /// There are several, or that is not known.
    Unsure,
}

impl Default for NewestStates {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| HashTable::new()) }
    }
}

impl NewestStates {
    /// Notes a state, in the place of the one that it supersedes if that is here.
    pub(crate) fn note(&mut self, place: StatePlace, supersedes: Option<u64>) {
        let Some(shard) = self.shards.get_mut(shard_of(place.hash)) else { return };
        let is_prior =
            |other: &StatePlace| other.hash == place.hash && Some(other.seq) == supersedes;
        match shard.find_mut(place.hash, is_prior) {
            Some(prior) => *prior = place,
            None => {
                shard.insert_unique(place.hash, place, |other| other.hash);
            }
        }
    }

    /// The newest states of the runs whose keys have this hash: of one, nearly always.
    pub(crate) fn find(&self, hash: u64) -> impl Iterator<Item = StatePlace> + '_ {
        let shard = self.shards.get(shard_of(hash));
        shard
            .into_iter()
            .flat_map(move |shard| shard.iter_hash(hash))
            .copied()
            .filter(move |place| place.hash == hash)
    }

    /// The newest state of the runs whose keys have this hash, when there is no more than one.
    pub(crate) fn find_one(&self, hash: u64) -> UnderHash {
        let mut states = self.find(hash);
        match (states.next(), states.next()) {
            (None, _) => UnderHash::None,
            (Some(place), None) => UnderHash::One(place),
            (Some(_), Some(_)) => UnderHash::Unsure,
        }
    }

    /// Bytes of memory held.
    pub(crate) fn memory(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum::<usize>()
    }
}

/// The table takes the highest and the lowest bits, so that these are left.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(hash: u64, seq: u64) -> StatePlace {
        StatePlace { hash, seq, frame: 256, offset: 300 }
    }

    fn seqs(states: &NewestStates, hash: u64) -> Vec<u64> {
        let mut seqs: Vec<u64> = states.find(hash).map(|place| place.seq).collect();
        seqs.sort_unstable();
        seqs
    }

    #[test]
    fn a_state_takes_the_place_of_the_one_before_it() {
        let mut states = NewestStates::default();
        states.note(place(7, 1), None);
        states.note(place(7, 5), Some(1));
        states.note(place(7, 9), Some(5));
        assert_eq!(seqs(&states, 7), [9]);
        assert_eq!(seqs(&states, 8), [0; 0]);
        assert_eq!(states.find_one(7), UnderHash::One(place(7, 9)));
        assert_eq!(states.find_one(8), UnderHash::None);
    }

    #[test]
    fn runs_whose_keys_have_one_hash_do_not_take_each_others_place() {
        let mut states = NewestStates::default();
        states.note(place(7, 1), None);
        states.note(place(7, 2), None);
        states.note(place(7, 3), Some(1));
        assert_eq!(seqs(&states, 7), [2, 3]);
        assert_eq!(states.find_one(7), UnderHash::Unsure);
    }

    #[test]
    fn a_state_whose_prior_lies_in_an_earlier_segment_is_kept_besides() {
        let mut states = NewestStates::default();
        for seq in 0..10_000 {
            states.note(place(seq % 1000 * (1 << 40), seq + 2), Some(1));
        }
        assert_eq!((0..1000).map(|hash| seqs(&states, hash << 40).len()).sum::<usize>(), 10_000);
        assert!(states.memory() >= 10_000 * size_of::<StatePlace>());
    }
}
