//! runledger itself, by its public interface.

use std::time::Duration;

use runledger::storage::{Disk, Storage};
use runledger::{
    Body, Cleanup, Compaction, Durability, Field, Kind, Ledger, Options, Order, Query, Record,
    Status, Timestamp,
};

use crate::Outcome;
use crate::engine::{Engine, Insight, Level, Log, Setup};
use crate::question::{Pick, Question, See, Seen};

pub(super) const SETTINGS: &str = "the defaults, segments of 64 MiB; bulk Durability::Os, durable \
     Durability::Sync (appends that wait share one fdatasync); every state of a run is kept";

pub(super) struct Runledger {
    ledger: Ledger,
    durability: Durability,
}

impl Runledger {
    pub(super) fn open(setup: Setup<'_>) -> Outcome<Self> {
        let mut options = Options::new();
        if let Some(bytes) = setup.segment_bytes {
            options = options.segment_bytes(bytes);
        }
        let durability = match setup.level {
            Level::Os => Durability::Os,
            Level::Sync => Durability::Sync,
        };
        Ok(Self { ledger: options.open(setup.dir.join("ledger"))?, durability })
    }
}

impl Log for Runledger {
    fn append_batch(&self, batch: &[Body<'_>]) -> Outcome {
        self.ledger.append_batch(batch, self.durability)?;
        Ok(())
    }

    fn append(&self, body: Body<'_>) -> Outcome {
        self.ledger.append_with(body, self.durability)?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome {
        Ok(self.ledger.close()?)
    }
}

impl Engine for Runledger {
    fn ask(&self, question: Question, pick: &Pick, see: See<'_>) -> Outcome {
        let query = self.ledger.query();
        let (since, until) = pick.window;
        let query = match question {
            Question::Trace => query.trace(&pick.trace.to_string()),
            Question::EventsOfRun => query.kind(Kind::Event).run(&pick.run.to_string()).limit(100),
            Question::LastFailed => {
                query.kind(Kind::Run).status(Status::Failed).record_type(&pick.name).limit(50)
            }
            Question::CountByStatus => {
                return count_by_status(&query.kind(Kind::Run).since(since).until(until), see);
            }
            Question::Scan => query
                .kind(Kind::Event)
                .record_type(&pick.name)
                .since(since)
                .until(until)
                .order(Order::Oldest)
                .limit(usize::MAX),
            Question::ErrorsOfProject => query.kind(Kind::Error).project(&pick.project).limit(50),
            Question::Newest => query.limit(100),
            Question::StateOfRun => {
                show(&self.ledger.reader().run(&pick.run.to_string())?.record()?, see);
                return Ok(());
            }
        };
        for record in query.fetch()?.records() {
            show(&record?, see);
        }
        Ok(())
    }

    fn drop_before(&self, time: Timestamp) -> Outcome<u64> {
        let age = Duration::from_nanos(u64::try_from(Disk.now() - time.as_nanos())?);
        Ok(self.ledger.cleanup(&Cleanup::older_than(age), false)?.dropped_records())
    }

    fn pack(&self) -> Outcome {
        let report = self.ledger.compact(&Compaction::new())?;
        match report.rewrites.is_empty() {
            true => Err("nothing was compacted".into()),
            false => Ok(()),
        }
    }

    fn insight(&self) -> Outcome<Insight> {
        let mut insight = Insight::default();
        for stream in self.ledger.reader().stats()?.streams {
            insight.records += stream.records;
            insight.segments += stream.segments;
            insight.frame_bytes += stream.frame_bytes;
            insight.footer_bytes += stream.footer_bytes;
            insight.index_memory += stream.index_memory;
        }
        Ok(insight)
    }
}

fn count_by_status(query: &Query, see: See<'_>) -> Outcome {
    let mut counts = Vec::new();
    for (name, count) in query.count_by(Field::Status)? {
        counts.push((name.parse::<Status>()?.code(), count));
    }
    counts.sort_unstable();
    for (status, count) in counts {
        see(Seen::Count { status, count });
    }
    Ok(())
}

fn show(record: &Record<'_>, see: See<'_>) {
    let record = std::hint::black_box(record);
    see(super::seen(record.seq, &record.body));
}
