//! What opening, memory, disk and clean-up cost: `cargo bench --bench open`.

mod suite;

fn main() -> suite::Outcome {
    suite::main("open")
}
