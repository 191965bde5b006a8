//! What an append costs: `cargo bench --bench append`.

mod suite;

fn main() -> suite::Outcome {
    suite::main("append")
}
