//! The card: its rows, how they are run, and the table of what came of it.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use crate::ground::{Ground, Part, Size, Tally};
use crate::rows::{
    abuse, clock, compaction, copies, cut_off, damage, faults, footers, forgeries, fuzzing, kills,
    lines, locks, lost_pages, mending, power, readers, reserve, retention, rivals, strength, tails,
    threads,
};

/// One row.
#[derive(Debug)]
pub struct Row {
    /// Its number on the card.
    pub number: u8,
    /// What is tried.
    pub subject: &'static str,
    /// What must come of it.
    pub goal: &'static str,
    /// The scenarios, with their names.
    pub parts: &'static [(&'static str, Part)],
}

/// All rows.
pub const ROWS: &[Row] = &[
    Row {
        number: 1,
        subject: "modelled power cuts",
        goal: "1,000,000 images: nothing acknowledged lost, nothing invented, no number twice",
        parts: &[
            ("at every operation", power::at_every_operation),
            ("with classes", power::with_classes),
            ("after a lost sync", power::after_a_lost_sync),
            ("after a death", power::after_a_death),
            ("in recovery", power::in_recovery),
            ("in recovery from recovery", power::in_recovery_from_recovery),
            ("while numbers are reserved", power::while_numbers_are_reserved),
            ("under several writers", power::under_several_writers),
            ("in large segments", power::in_large_segments),
            ("in a repair", mending::in_a_repair),
            ("in a compaction", compaction::in_a_compaction),
            ("in an erasure", compaction::in_an_erasure),
            ("in a clean-up by status", compaction::in_a_clean_up_by_status),
        ],
    },
    Row {
        number: 2,
        subject: "real power cuts",
        goal: "5,000 on ext4 and 1,000 on XFS: nothing synced lost, nothing invented",
        parts: &[("ext4", cut_off::ext4), ("XFS", cut_off::xfs)],
    },
    Row {
        number: 3,
        subject: "death of the process",
        goal: "5,000 kills, 0 lost",
        parts: &[
            ("modelled, at every operation", power::death_of_the_process),
            ("killed", kills::live_writers),
        ],
    },
    Row {
        number: 4,
        subject: "flipped bits",
        goal: "every bit of a sealed and an open segment: reported, no altered record given",
        parts: &[
            ("segments", damage::flipped_bits),
            ("LEDGER and SEQ", damage::flipped_bits_of_the_others),
            ("with new checksums", damage::with_new_checksums),
        ],
    },
    Row {
        number: 5,
        subject: "damage and torn tails",
        goal: "10,000 each: damage is never cut away, a torn tail costs what was not acknowledged",
        parts: &[("bodies", damage::bodies), ("torn tails", damage::torn_tails)],
    },
    Row {
        number: 6,
        subject: "one operation fails",
        goal: "every operation, each error: none swallowed, later acknowledgements true",
        parts: &[
            ("each operation", faults::each_operation),
            ("beside other threads", faults::beside_other_threads),
        ],
    },
    Row {
        number: 7,
        subject: "a sync fails once",
        goal: "no acknowledgement after it, all waiters told, stopped until opened again",
        parts: &[("each sync", faults::each_sync), ("all waiters", faults::all_waiters)],
    },
    Row {
        number: 8,
        subject: "a full disk",
        goal: "20,000 offsets: no half record, appends resume, clean-up works",
        parts: &[
            ("at each byte of a record", faults::full_at_each_byte),
            ("full, and space again", faults::full_and_space_again),
            ("clean-up", retention::clean_up_on_a_full_disk),
            ("ends of runs", reserve::ends_of_runs_get_through),
            ("clean-up out of the reserve", reserve::clean_up_out_of_the_reserve),
            ("small file systems", reserve::on_small_file_systems),
        ],
    },
    Row {
        number: 9,
        subject: "zero, hole and hostile tails",
        goal: "100,000 inputs, 0 phantoms, memory bounded",
        parts: &[("behind the frames", tails::behind_the_frames)],
    },
    Row {
        number: 10,
        subject: "fuzzing",
        goal: "10,000,000 inputs of decoders, 1,000,000 of operations, no crash, the corpus kept",
        parts: &[
            ("kept corpus", fuzzing::kept_corpus),
            ("led by coverage", fuzzing::led_by_coverage),
        ],
    },
    Row {
        number: 11,
        subject: "footers that are not theirs",
        goal: "10,000 mutations: the answers of a full scan",
        parts: &[("mutations", footers::mutations)],
    },
    Row {
        number: 12,
        subject: "retention cut between its steps",
        goal: "what was dropped stays away, no number is used again",
        parts: &[
            ("each step", retention::each_step),
            ("an error at each step", retention::an_error_at_each_step),
            ("copies beside a writer", copies::beside_a_writer),
            ("copies beside a clean-up", copies::beside_a_clean_up),
        ],
    },
    Row {
        number: 13,
        subject: "readers beside a writer",
        goal: "1,000 readers in several processes: no fault, no gap, nothing torn",
        parts: &[("rolled over and dropped", readers::beside_a_writer)],
    },
    Row {
        number: 14,
        subject: "pages that are lost",
        goal: "a true answer or a typed error; nobody dies",
        parts: &[("cut short", lost_pages::cut_short), ("unreadable", lost_pages::unreadable)],
    },
    Row {
        number: 15,
        subject: "two writers",
        goal: "1,000 races, one winner each",
        parts: &[
            ("races of threads", locks::races),
            ("holder and readers", locks::holder_and_readers),
            ("forked children", locks::forked_children),
            ("races of processes", rivals::races),
            ("a fork that lives on", rivals::forks),
            ("a lock file that is removed", rivals::removed_lock),
        ],
    },
    Row {
        number: 16,
        subject: "clocks that jump",
        goal: "numbers rise, answers by time are right, nothing is dropped early",
        parts: &[
            ("order and answers", clock::order_and_answers),
            ("nothing young is dropped", clock::nothing_young_is_dropped),
            ("a record from the future", clock::a_record_from_the_future),
            ("at any look", clock::at_any_look),
        ],
    },
    Row {
        number: 17,
        subject: "orders of threads",
        goal: "group commit: all of them at 3 threads; the handle: 100,000; no races",
        parts: &[
            ("group commit", threads::group_commit),
            ("schedules", threads::schedules),
            ("races", threads::races),
        ],
    },
    Row {
        number: 18,
        subject: "HTTP abuse",
        goal: "100,000 requests, no 5xx, memory bounded, a good client's p99 under 1 s",
        parts: &[("many clients", abuse::many_clients)],
    },
    Row {
        number: 19,
        subject: "forged tokens",
        goal: "60 forgeries or more at every operation, 0 accepted",
        parts: &[
            ("with a secret", forgeries::with_a_secret),
            ("with public keys", forgeries::with_public_keys),
        ],
    },
    Row {
        number: 20,
        subject: "the strength of this card",
        goal: "each planted bug caught by its row; 95% of lines, 90% of mutants",
        parts: &[
            ("nothing planted", strength::nothing_planted),
            ("planted bugs", strength::planted_bugs),
            ("lines", lines::lines),
            ("mutants", strength::mutants),
        ],
    },
];

/// What came of a row.
#[derive(Debug)]
pub struct Outcome {
    /// The row.
    pub row: &'static Row,
    /// The seed that it was run with.
    pub seed: u64,
    /// What it counted.
    pub tally: Tally,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// True when a promise was broken, or the row neither tried anything nor said why not.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.tally.failed > 0 || (self.tally.tried == 0 && self.tally.skipped.is_empty())
    }
}

/// How rows are to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often to try.
    pub size: Size,
    /// Where all chance comes from.
    pub seed: u64,
    /// Only this case of each part.
    pub only_case: Option<u64>,
    /// This program, when it can be run again as another process.
    pub program: Option<PathBuf>,
    /// True when one failure tells all that is asked.
    pub stops_at_once: bool,
}

/// The row of this number.
#[must_use]
pub fn row(number: u8) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.number == number)
}

/// Runs one row.
#[must_use]
pub fn run(row: &'static Row, plan: &Plan) -> Outcome {
    let mut ground = Ground::new(plan.size, plan.seed, plan.program.clone());
    ground.only_case = plan.only_case;
    if plan.stops_at_once {
        ground.max_failures = 1;
    }
    let (tally, took) = ground.run(row.parts);
    Outcome { row, seed: plan.seed, tally, took }
}

/// The head of the table.
#[must_use]
pub fn head() -> String {
    format!(
        "{:>3}  {:<32}  {:>9}  {:>6}  {:>7}  {:>7}  seed\n",
        "row", "subject", "tried", "failed", "skipped", "seconds"
    )
}

/// The line of one row, and below it what it skipped and how it failed.
#[must_use]
pub fn line(outcome: &Outcome) -> String {
    let Outcome { row, seed, tally, took } = outcome;
    let skipped: u64 = tally.skipped.iter().map(|(count, _)| count).sum();
    let mut text = format!(
        "{:>3}  {:<32}  {:>9}  {:>6}  {:>7}  {:>7.1}  {seed}\n",
        row.number,
        row.subject,
        tally.tried,
        tally.failed,
        skipped,
        took.as_secs_f64(),
    );
    for (count, reason) in &tally.skipped {
        let _ = writeln!(text, "     skipped {count}: {reason}");
    }
    for failure in &tally.failures {
        let _ = writeln!(text, "     FAILED {failure}");
    }
    text
}

/// What the whole card took, and on what machine.
#[must_use]
pub fn foot(took: Duration) -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    let kernel = kernel
        .map_or_else(|_| "another system".to_owned(), |text| format!("Linux {}", text.trim()));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{:.0} s in all, {processors} processors, {kernel}\n", took.as_secs_f64())
}

/// The rows as a table of a document: what each tries, and what must come of it.
#[must_use]
pub fn rows_table() -> String {
    let mut text =
        "| row | subject | what must come of it | tried as |\n|---|---|---|---|\n".to_owned();
    for row in ROWS {
        let parts: Vec<_> = row.parts.iter().map(|(name, _)| *name).collect();
        let Row { number, subject, goal, .. } = row;
        let _ = writeln!(text, "| {number} | {subject} | {goal} | {} |", parts.join("; "));
    }
    text
}

/// Runs a row at its everyday size, as a test.
///
/// # Panics
/// When a promise is broken.
pub fn test(number: u8) {
    let row = row(number).unwrap_or_else(|| panic!("the card has no row {number}"));
    let plan =
        Plan { size: Size::Fast, seed: 1, only_case: None, program: None, stops_at_once: false };
    let outcome = run(row, &plan);
    let text = line(&outcome);
    println!("{}{text}", head());
    outcome.tally.notes.iter().for_each(|note| println!("     {note}"));
    assert!(!outcome.is_failed(), "{text}");
}
