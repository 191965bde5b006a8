//! Whether this card can fail at all (row 20): bugs are planted in the engine, one at a time, and
//! the row that is there for such bugs has to catch each of them.

use runledger::Result;

use crate::ground::Ground;

/// What the tests would not notice is measured by another tool.
pub(crate) fn mutants(ground: &Ground) -> Result<()> {
    ground.skip(1, "mutants take cargo mutants and many hours, and are not run here");
    Ok(())
}

#[cfg(not(feature = "planted"))]
mod planted {
    use super::*;

    pub(crate) fn nothing_planted(ground: &Ground) -> Result<()> {
        ground.skip(1, "this build has no bugs to plant");
        Ok(())
    }

    pub(crate) fn planted_bugs(ground: &Ground) -> Result<()> {
        nothing_planted(ground)
    }
}

#[cfg(feature = "planted")]
mod planted {
    use std::collections::BTreeSet;
    use std::io::{Read, Seek};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use runledger::planted::Bug;

    use super::*;
    use crate::real::server;

    /// The row that has to catch each bug.
    const CATCHES: &[(Bug, u8)] = &[
        (Bug::SkipDirectorySyncAfterCreate, 1),
        (Bug::SkipDirectorySyncAfterRemove, 12),
        (Bug::AcknowledgeBeforeSync, 1),
        (Bug::WakeBeforeSync, 7),
        (Bug::RetryFailedSync, 7),
        (Bug::GoOnAfterFailedSync, 7),
        (Bug::TrustPagesOfAFailedSync, 7),
        (Bug::SealWithOneSync, 1),
        (Bug::CutAtTheFirstBadFrame, 5),
        (Bug::SkipPayloadChecksum, 4),
        (Bug::UnboundFrame, 9),
        (Bug::ZerosAreAFrame, 1),
        (Bug::NumbersBeforeTheirBound, 1),
        (Bug::SkipFooterChecksum, 11),
        (Bug::RemoveBeforeTheNote, 12),
        (Bug::DropOpenRuns, 12),
        (Bug::BelieveTheClock, 16),
        (Bug::SkipLock, 15),
        (Bug::KeepHalfARecord, 8),
        (Bug::PublishBeforeTheWrite, 8),
        (Bug::SkipHash, 4),
        (Bug::NameBeforeTheSync, 1),
        (Bug::CompactUnsaid, 1),
        (Bug::SkipTokenExpiry, 19),
        (Bug::PanicOnBadWord, 18),
    ];

    /// The rows that try the program beside this one.
    const OF_THE_SERVER: [u8; 2] = [18, 19];

    /// A row that takes longer than this has not caught anything.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// A failure that counts is a row's, and not that of the program.
    const CAUGHT: i32 = 1;

    /// Without a bug the same rows keep their promises in the same build.
    pub(crate) fn nothing_planted(ground: &Ground) -> Result<()> {
        let rows: BTreeSet<u8> = CATCHES.iter().map(|(_, row)| *row).collect();
        let rows: Vec<u8> = rows.into_iter().collect();
        let Some(program) = &ground.program else {
            ground.skip(rows.len() as u64, "this runs in processes of its own");
            return Ok(());
        };
        ground.numbered_cases(rows.len() as u64, |number, _| {
            let row = rows[usize::try_from(number).unwrap()];
            let (code, said, _) = run(program, row, ground.seed, None);
            assert_eq!(code, Some(0), "row {row} fails with nothing planted: {said}");
            Ok(1)
        });
        Ok(())
    }

    /// Each bug is caught by its row.
    pub(crate) fn planted_bugs(ground: &Ground) -> Result<()> {
        assert!(Bug::ALL.iter().all(|bug| CATCHES.iter().any(|(known, _)| known == bug)));
        let Some(program) = &ground.program else {
            ground.skip(CATCHES.len() as u64, "this runs in processes of its own");
            return Ok(());
        };
        ground.numbered_cases(CATCHES.len() as u64, |number, _| {
            let (bug, row) = CATCHES[usize::try_from(number).unwrap()];
            if OF_THE_SERVER.contains(&row) && !server::can_plant() {
                ground.skip(1, format!("{bug:?}: no `runledger` beside this was built with bugs"));
                return Ok(0);
            }
            let (code, said, took) = run(program, row, ground.seed, Some(bug));
            assert_eq!(code, Some(CAUGHT), "{bug:?} is not caught by row {row}: {said}");
            let failure = said.lines().find_map(|line| line.trim().strip_prefix("FAILED "));
            let failure = failure.unwrap_or_else(|| panic!("{bug:?}: no row has failed: {said}"));
            let brief: String = failure.chars().take(120).collect();
            ground.note(format!("{bug:?}: row {row} in {:.1} s: {brief}", took.as_secs_f64()));
            Ok(1)
        });
        Ok(())
    }

    /// Runs a row in another process: its exit code, what it said, and how long it took.
    fn run(
        program: &Path,
        row: u8,
        seed: u64,
        bug: Option<Bug>,
    ) -> (Option<i32>, String, Duration) {
        let begin = Instant::now();
        let mut command = Command::new(program);
        command.args(["--fast", "--row", &row.to_string(), "--seed", &seed.to_string()]);
        if let Some(bug) = bug {
            command.args(["--plant", &format!("{bug:?}")]);
        }
        let mut said = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if begin.elapsed() > PATIENCE => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let mut text = String::new();
        said.rewind().unwrap();
        said.read_to_string(&mut text).unwrap();
        (status.and_then(|status| status.code()), text, begin.elapsed())
    }
}

pub(crate) use planted::{nothing_planted, planted_bugs};
