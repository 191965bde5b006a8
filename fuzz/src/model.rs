//! Operations against a model: whatever is appended, rolled, sealed, closed, killed and reopened,
//! every query gives what a list of all records gives.

use std::collections::HashMap;
use std::sync::Arc;

use runledger::{
    Body, Durability, Error, ErrorRecord, Event, Id, Kind, Ledger, Options, Order, Reader, Run,
    Severity, Status, Timestamp,
};

use super::input::Input;
use super::memory::Memory;

const DIR: &str = "/ledger";
const STATUSES: [Status; 6] = [
    Status::Pending,
    Status::Running,
    Status::Success,
    Status::Failed,
    Status::Skipped,
    Status::Cancelled,
];
const ERRORS: [Severity; 3] = [Severity::Warning, Severity::Error, Severity::Critical];
/// Operations of one input: more of them find nothing that fewer do not, and cost time.
const MOST_OPERATIONS: usize = 400;

/// A list of operations.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.check_all();
    world.reopen(false);
    world.check_all();
}

/// A record as the model has it.
#[derive(Debug, Clone)]
struct Entry {
    seq: u64,
    kind: Kind,
    name: String,
    trace: Option<String>,
    run: Option<String>,
    status: Option<Status>,
    severity: Option<Severity>,
    created_at: i64,
    attempt: u32,
    superseded: bool,
}

struct World {
    storage: Arc<Memory>,
    ledger: Option<Ledger>,
    entries: Vec<Entry>,
    /// The newest state of each run, as its place among the entries.
    runs: HashMap<String, usize>,
}

impl World {
    fn new() -> Self {
        let storage = Arc::new(Memory::default());
        let ledger = Some(open(&storage));
        Self { storage, ledger, entries: Vec::new(), runs: HashMap::new() }
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("open between the steps")
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..=6 => {
                let body = body(input);
                let expected = self.clone_state().accept(&body);
                let durability = input.pick(&[Durability::Os, Durability::Sync]);
                let result = self.ledger().append_with(body.clone(), durability);
                self.settle(std::slice::from_ref(&body), expected, result.map(|seq| vec![seq]));
            }
            7..=8 => {
                let bodies: Vec<_> = (0..=input.below(5)).map(|_| body(input)).collect();
                let mut state = self.clone_state();
                let expected = bodies.iter().all(|body| state.accept(body));
                let result = self.ledger().append_batch(&bodies, Durability::Os);
                self.settle(&bodies, expected, result);
            }
            9 => self.append_each(input),
            10 => self.ledger().sync().expect("a sync"),
            11 => self.ledger().maintain().expect("maintenance"),
            12 => self.reopen(input.flag()),
            13 => self.storage.turn_clock(i64::from(input.short()) * 1_000_000 - 30_000_000_000),
            _ => self.check_query(input),
        }
    }

    fn clone_state(&self) -> Runs {
        let state = |(id, place): (&String, &usize)| {
            let entry = &self.entries[*place];
            (id.clone(), (entry.status.expect("of a run"), entry.attempt))
        };
        Runs(self.runs.iter().map(state).collect())
    }

    fn settle(&mut self, bodies: &[Body<'_>], expected: bool, result: Result<Vec<u64>, Error>) {
        match result {
            Ok(seqs) => {
                assert!(expected, "taken, and should not be: {bodies:?}");
                assert_eq!(seqs.len(), bodies.len());
                bodies.iter().zip(seqs).for_each(|(body, seq)| self.note(body, seq));
            }
            Err(Error::RunTransition { .. }) => assert!(!expected, "refused: {bodies:?}"),
            Err(err) => panic!("an append failed: {err}"),
        }
    }

    fn append_each(&mut self, input: &mut Input<'_>) {
        let bodies: Vec<_> = (0..=input.below(5)).map(|_| body(input)).collect();
        let mut state = self.clone_state();
        let results = self.ledger().append_each(&bodies, Durability::Os).expect("an append");
        assert_eq!(results.len(), bodies.len());
        for (body, result) in bodies.iter().zip(results) {
            assert_eq!(state.accept(body), result.is_ok(), "{body:?}: {result:?}");
            if let Ok(seq) = result {
                self.note(body, seq);
            }
        }
    }

    /// Enters a record that was appended.
    fn note(&mut self, body: &Body<'_>, seq: u64) {
        let last = self.entries.last().map_or(0, |entry| entry.seq);
        assert!(seq > last, "{seq} was given out after {last}");
        let prior = match body {
            Body::Run(run) => self.runs.insert(run.run_id.to_string(), self.entries.len()),
            _ => None,
        };
        let prior = prior.map(|place| {
            self.entries[place].superseded = true;
            self.entries[place].clone()
        });
        self.entries.push(entry(body, seq, prior.as_ref()));
    }

    /// Closes the ledger, or lets it be killed, and opens it again.
    fn reopen(&mut self, kill: bool) {
        if kill {
            let after = Arc::new(self.storage.after_a_kill());
            self.ledger = None;
            self.storage = after;
        } else {
            self.ledger.take().expect("open between the steps").close().expect("a close");
        }
        self.ledger = Some(open(&self.storage));
    }

    /// A query of any filters gives what the model gives.
    fn check_query(&self, input: &mut Input<'_>) {
        let mut query = self.ledger().query();
        let mut wanted: Vec<&Entry> = self.entries.iter().collect();
        let history = input.flag();
        query = query.history(history);
        wanted.retain(|entry| history || !entry.superseded);
        let chosen = input.byte();
        if chosen & 1 != 0 {
            let kind = input.pick(Kind::ALL);
            query = query.kind(kind);
            wanted.retain(|entry| entry.kind == kind);
        }
        if chosen & 2 != 0 {
            let names = [name(input), name(input)];
            query = query.record_type(&names[0]).record_type(&names[1]);
            wanted.retain(|entry| names.contains(&entry.name));
        }
        if chosen & 4 != 0 {
            let trace = trace(input);
            query = query.trace(&trace);
            wanted.retain(|entry| entry.trace.as_deref() == Some(trace.as_str()));
        }
        if chosen & 8 != 0 {
            let run = run_id(input);
            query = query.run(&run);
            wanted.retain(|entry| entry.run.as_deref() == Some(run.as_str()));
        }
        if chosen & 16 != 0 {
            let status = input.pick(&STATUSES);
            query = query.status(status);
            wanted.retain(|entry| entry.status == Some(status));
        }
        if chosen & 32 != 0 {
            let severity = input.pick(&ERRORS);
            query = query.severity(severity);
            wanted.retain(|entry| entry.severity == Some(severity));
        }
        if chosen & 64 != 0 {
            let (since, until) = (time(input), time(input));
            query = query.since(since).until(until);
            let range = since.as_nanos()..until.as_nanos();
            wanted.retain(|entry| range.contains(&entry.created_at));
        }
        assert_eq!(query.count().expect("a count"), wanted.len() as u64);
        let order = input.pick(&[Order::Newest, Order::Oldest, Order::Seq, Order::SeqDescending]);
        sort(&mut wanted, order);
        let (offset, limit) = (input.below(8), input.below(40));
        let page = query.order(order).offset(offset as u64).limit(limit).fetch().expect("a page");
        let expected = wanted.iter().skip(offset).take(limit).map(|entry| entry.seq);
        assert!(page.seqs().eq(expected), "{order:?}, {offset} {limit}, filters {chosen:#x}");
    }

    /// Everything is there, once, in each order, also for another process.
    fn check_all(&self) {
        let other = Reader::with_storage(DIR, self.storage.clone()).expect("a reader");
        for reader in [self.ledger().reader(), &other] {
            for order in [Order::Seq, Order::Oldest] {
                let query = reader.query().history(true).order(order).limit(100_000);
                let page = query.fetch().expect("all records");
                let mut entries: Vec<_> = self.entries.iter().collect();
                sort(&mut entries, order);
                assert!(page.seqs().eq(entries.iter().map(|entry| entry.seq)), "in {order:?}");
                for (record, entry) in page.records().zip(entries) {
                    let record = record.expect("a record that was found");
                    assert_eq!(record.body.type_name(), entry.name);
                    assert_eq!(
                        record.body.created_at().map(Timestamp::as_nanos),
                        Some(entry.created_at)
                    );
                }
            }
        }
    }
}

/// Status and attempt of each run.
struct Runs(HashMap<String, (Status, u32)>);

impl Runs {
    /// Takes a record by the rules of the model; false when it is to be refused.
    fn accept(&mut self, body: &Body<'_>) -> bool {
        let Body::Run(run) = body else { return true };
        let id = run.run_id.to_string();
        let attempt = match self.0.get(&id) {
            None => run.attempt.unwrap_or(1),
            Some((status, current)) => {
                let attempt = run.attempt.unwrap_or(*current);
                let back = *status == Status::Running && run.status == Status::Pending;
                if attempt < *current || attempt == *current && (status.is_terminal() || back) {
                    return false;
                }
                attempt
            }
        };
        self.0.insert(id, (run.status, attempt));
        true
    }
}

fn open(storage: &Arc<Memory>) -> Ledger {
    Options::new()
        .reserve_bytes(0)
        .background(false)
        .segment_bytes(runledger::limits::MIN_SEGMENT_BYTES)
        .storage(storage.clone())
        .open(DIR)
        .expect("a ledger that nothing damaged opens")
}

fn sort(entries: &mut [&Entry], order: Order) {
    match order {
        Order::Newest => entries.sort_by_key(|e| std::cmp::Reverse((e.created_at, e.seq))),
        Order::Oldest => entries.sort_by_key(|e| (e.created_at, e.seq)),
        Order::SeqDescending => entries.sort_by_key(|e| std::cmp::Reverse(e.seq)),
        _ => entries.sort_by_key(|e| e.seq),
    }
}

fn entry(body: &Body<'_>, seq: u64, prior: Option<&Entry>) -> Entry {
    let own = |id: Option<&Id<'_>>| id.map(ToString::to_string);
    let (status, severity, attempt) = match body {
        Body::Run(run) => {
            let attempt = run.attempt.or(prior.map(|prior| prior.attempt)).unwrap_or(1);
            (Some(run.status), None, attempt)
        }
        Body::Event(event) => (None, event.severity, 0),
        Body::Error(error) => (None, Some(error.severity), 0),
        _ => (None, None, 0),
    };
    let at = match body {
        Body::Run(run) => {
            run.created_at.or(prior.map(|prior| Timestamp::from_nanos(prior.created_at))).or(run.at)
        }
        _ => body.created_at(),
    };
    Entry {
        seq,
        kind: body.kind(),
        name: body.type_name().to_owned(),
        trace: own(body.trace_id()).or_else(|| prior?.trace.clone()),
        run: own(body.run_id()),
        status,
        severity,
        created_at: at.expect("the target sets all times").as_nanos(),
        attempt,
        superseded: false,
    }
}

fn name(input: &mut Input<'_>) -> String {
    format!("type-{}", input.below(4))
}

fn trace(input: &mut Input<'_>) -> String {
    format!("{:032x}", input.below(3))
}

fn run_id(input: &mut Input<'_>) -> String {
    format!("run-{}", input.below(5))
}

fn time(input: &mut Input<'_>) -> Timestamp {
    Timestamp::from_nanos(i64::from(input.byte()) - 100)
}

fn body(input: &mut Input<'_>) -> Body<'static> {
    let (what, chosen) = (input.below(4), input.byte());
    let trace = (chosen & 1 != 0).then(|| Id::new(trace(input)).expect("a valid id"));
    let (name, time) = (name(input), time(input));
    // Some are long, so that segments fill up.
    let text = "x".repeat(if chosen & 2 != 0 { 7000 } else { 3 });
    match what {
        0 | 1 => {
            let mut run = Run::new(run_id(input), name, input.pick(&STATUSES)).expect("a valid id");
            run.trace_id = trace;
            run.at = Some(time);
            run.attempt = (chosen & 12 == 12).then(|| 1 + u32::from(input.byte() % 3));
            run.error = (chosen & 2 != 0).then(|| runledger::RunError::new(text));
            Body::Run(run)
        }
        2 => {
            let mut event = Event::new(name).created_at(time).message(text);
            event.trace_id = trace;
            event.run_id = (chosen & 4 != 0).then(|| Id::new(run_id(input)).expect("a valid id"));
            event.severity = (chosen & 8 != 0).then(|| input.pick(&ERRORS));
            Body::Event(event)
        }
        _ => {
            let mut error = ErrorRecord::new(name, text).created_at(time);
            error.severity = input.pick(&ERRORS);
            error.trace_id = trace;
            Body::Error(error)
        }
    }
}
