//! What a query costs: `cargo bench --bench query`.

mod suite;

fn main() -> suite::Outcome {
    suite::main("query")
}
