//! What is measured: one line of the table each.

use serde::{Deserialize, Serialize};

/// Whether more is better, or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
    /// Neither: it says what the others mean.
    Neither,
}

/// A figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// What children file it under.
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

const fn higher(key: &'static str, name: &'static str, unit: &'static str) -> Figure {
    Figure { key, name, unit, better: Better::Higher }
}

const fn lower(key: &'static str, name: &'static str, unit: &'static str) -> Figure {
    Figure { key, name, unit, better: Better::Lower }
}

const fn plain(key: &'static str, name: &'static str, unit: &'static str) -> Figure {
    Figure { key, name, unit, better: Better::Neither }
}

/// The figures, in groups.
pub(crate) const GROUPS: &[(&str, &[Figure])] = &[
    (
        "Bulk: batches of 1,000, no sync",
        &[
            higher("bulk.appended", "until the last append returned", "/s"),
            higher("bulk.closed", "until indexed, synced and closed", "/s"),
            lower("bulk.cpu", "CPU, background included", "µs/op"),
            lower("bulk.first_query", "first query right after", "µs"),
        ],
    ),
    (
        "Durable: one append at a time",
        &[
            lower("durable.p50", "1 thread, p50", "µs"),
            lower("durable.beside", "1 thread, p50, over a bare write by turns", "×"),
            lower("durable.p99", "1 thread, p99", "µs"),
            higher("durable.one", "1 thread", "/s"),
            higher("durable.many", "16 threads", "/s"),
        ],
    ),
    (
        "Single: one append at a time, no sync",
        &[higher("single.one", "1 thread", "/s"), higher("single.many", "16 threads", "/s")],
    ),
    (
        "Latency: one thread at a steady 100,000 appends a second, no sync",
        &[
            higher("latency.rate", "rate reached", "/s"),
            lower("latency.p50", "p50", "µs"),
            lower("latency.p99", "p99", "µs"),
            lower("latency.p99.9", "p99.9", "µs"),
            lower("latency.max", "max", "µs"),
            lower("latency.call_p99", "the call alone, p99", "µs"),
            lower("latency.call_p99.9", "the call alone, p99.9", "µs"),
            lower("seals.p99", "across seals (4 MiB segments), p99", "µs"),
            lower("seals.p99.9", "across seals, p99.9", "µs"),
            lower("seals.max", "across seals, max", "µs"),
            lower("seals.call_p99.9", "across seals, the call alone, p99.9", "µs"),
        ],
    ),
    (
        "Queries opened again: warm, after a clean close, p50",
        &[
            lower("query.trace", "records of a trace", "µs"),
            lower("query.events_of_run", "events of a run, newest 100", "µs"),
            lower("query.last_failed", "last 50 failed runs of a type", "µs"),
            lower("tuned.last_failed", "the same, an index of its own", "µs"),
            lower("query.count_by_status", "count by status in a tenth", "µs"),
            lower("query.scan", "scan a type over a tenth, read", "µs"),
            lower("query.errors_of_project", "errors of a project, newest 50", "µs"),
            lower("query.newest", "newest 100 of all", "µs"),
            lower("query.state_of_run", "state of a run", "µs"),
            lower("segments.trace", "records of a trace, small segments", "µs"),
            plain("segments.count", "so many small segments", ""),
        ],
    ),
    (
        "Queries while it is written: warm, p50",
        &[
            lower("written.trace", "records of a trace", "µs"),
            lower("written.events_of_run", "events of a run, newest 100", "µs"),
            lower("written.last_failed", "last 50 failed runs of a type", "µs"),
            lower("written.count_by_status", "count by status in a tenth", "µs"),
            lower("written.scan", "scan a type over a tenth, read", "µs"),
            lower("written.errors_of_project", "errors of a project, newest 50", "µs"),
            lower("written.newest", "newest 100 of all", "µs"),
            lower("written.state_of_run", "state of a run", "µs"),
        ],
    ),
    (
        "Opening",
        &[
            lower("clean.open", "open after a clean close", "ms"),
            lower("clean.first_query", "first query after a clean close", "µs"),
            lower("kill.open", "open after kill -9", "ms"),
            lower("kill.first_query", "first query after kill -9", "µs"),
            higher("recover.rate", "frames read again after kill -9", "GB/s"),
        ],
    ),
    (
        "Memory",
        &[
            lower("clean.anon", "anonymous, opened clean", "MiB"),
            lower("clean.file", "mapped, opened clean", "MiB"),
            lower("clean.anon_asked", "anonymous, after the queries", "MiB"),
            lower("clean.file_asked", "mapped, after the queries", "MiB"),
            lower("kill.anon", "anonymous, opened after kill -9", "MiB"),
            lower("recover.index", "index in memory, if nothing is sealed", "B/op"),
            lower("clean.index_memory", "index in memory, opened clean", "B/op"),
        ],
    ),
    (
        "Disk",
        &[
            lower("disk.bytes", "bytes on disk", "B/op"),
            lower("clean.frame", "of them, records in frames", "B/op"),
            lower("clean.footer", "of them, index in footers", "B/op"),
        ],
    ),
    (
        "Compaction",
        &[
            lower("packed.bytes", "bytes on disk, compacted", "B/op"),
            higher("packed.rate", "frames compacted", "MB/s"),
            lower("packed.trace", "records of a trace, compacted", "µs"),
            lower("packed.events_of_run", "events of a run, compacted", "µs"),
        ],
    ),
    (
        "Drop: the older half",
        &[
            lower("drop.time", "time", "ms"),
            plain("drop.share", "share of the appends that went", "%"),
        ],
    ),
];
