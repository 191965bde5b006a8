//! The rows of the reliability scorecard that need no other process, at a size for every day. What
//! they try is in `tests/torture`; `cargo run --release -p torture -- all` runs the whole card.

use torture::card::test;

macro_rules! rows {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            test($number);
        })*
    };
}

rows! {
    modelled_power_cuts = 1,
    death_of_the_process = 3,
    flipped_bits = 4,
    damage_and_torn_tails = 5,
    one_operation_fails = 6,
    a_sync_fails_once = 7,
    a_full_disk = 8,
    zero_hole_and_hostile_tails = 9,
    footers_that_are_not_theirs = 11,
    retention_cut_between_its_steps = 12,
    two_writers = 15,
    clocks_that_jump = 16,
}
