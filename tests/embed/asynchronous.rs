//! What is awaited, on two executors.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use runledger::embed::{Follow, Recorder};
use runledger::{Body, Durability, Error, ErrorRecord, Event, Kind, Ledger, Run, Status};
use smol::stream::StreamExt;

use super::{damage_second, ledger};
use crate::engine::within_a_minute;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs it on each of the executors, within a minute.
fn on_each(task: fn() -> Task) {
    within_a_minute(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        runtime.unwrap().block_on(async move { tokio::spawn(task()).await.unwrap() });
        smol::block_on(async move { smol::spawn(task()).await });
    });
}

#[test]
fn what_is_awaited_is_on_stable_storage_and_shares_its_sync() {
    on_each(|| {
        Box::pin(async {
            let (ledger, storage, _dir) = ledger();
            let (syncs, told) = mpsc::channel();
            let syncs = parking_lot::Mutex::new(syncs);
            storage.set(move |operation, path| {
                if operation == "sync" && path.parent().is_some_and(|it| it.ends_with("events")) {
                    let _ = syncs.lock().send(());
                }
            });
            let queue = Recorder::queue().durability(Durability::Os);
            let (recorder, guard) = queue.start(&ledger).unwrap();
            let append = |number: usize| {
                recorder.append(Event::new(format!("t-{number}")), Durability::Sync)
            };
            let appends: Vec<_> = (0..200).map(append).collect();
            let mut seqs = Vec::new();
            // They are polled one after the other, and all of them wait for the first.
            for append in futures(appends).await {
                seqs.push(append.unwrap());
            }
            assert_eq!(ledger.query().count().unwrap(), 200);
            assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
            let synced = told.try_iter().count();
            assert!((1..100).contains(&synced), "{synced} syncs for 200 records");
            let refused = recorder.append(Event::new(""), Durability::Os).await;
            assert!(refused.unwrap_err().to_string().contains("type"));
            drop(guard);
            assert!(recorder.append(Event::new("late"), Durability::Os).await.is_err());
        })
    });
}

/// An append that was polled once more after it was done waited for ever.
#[test]
fn an_append_that_is_over_says_so() {
    on_each(|| {
        Box::pin(async {
            let (ledger, _, _dir) = ledger();
            let in_place = Recorder::in_place(&ledger, Durability::Os);
            let (recorder, _guard) = Recorder::queue().start(&ledger).unwrap();
            for recorder in [in_place, recorder] {
                let mut append = recorder.append(Event::new("t"), Durability::Os);
                (&mut append).await.unwrap();
                let again = smol::future::poll_once(&mut append).await;
                assert!(matches!(again, Some(Err(Error::Closed))), "{again:?}");
            }
        })
    });
}

/// Polls all of them until each is done.
async fn futures<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<_> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = Pin::new(future).poll(context)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// An append that had found no room was woken by nobody, where the record before it had been one of
/// those that nobody waits for.
#[test]
fn who_finds_no_room_is_woken_when_there_is() {
    on_each(|| {
        Box::pin(async {
            let (ledger, _, _dir) = ledger();
            let (recorder, guard) = Recorder::queue().records(2).start(&ledger).unwrap();
            for round in 0..50_usize {
                let mut appends = Vec::new();
                for _ in 0..10 {
                    appends.push(recorder.append(Event::new("t"), Durability::Os));
                }
                let done = futures(appends).await;
                assert!(done.iter().all(Result::is_ok), "{round}");
            }
            drop(guard);
            assert_eq!(ledger.query().count().unwrap(), 500);
        })
    });
}

/// Appends records of all kinds from several threads.
fn write(ledger: &Ledger, each: usize) {
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                for number in 0..each {
                    let record: Body<'_> = match thread {
                        0 => Event::new("t").into(),
                        1 => ErrorRecord::new("t", "m").into(),
                        _ => Run::new(format!("r-{number}"), "t", Status::Running).unwrap().into(),
                    };
                    ledger.append_with(record, Durability::Os).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_stream_gives_each_record_once_and_goes_on_where_it_was_left() {
    on_each(|| {
        Box::pin(async {
            let (ledger, _, _dir) = ledger();
            write(&ledger, 600);
            let writer = {
                let ledger = ledger.clone();
                std::thread::spawn(move || write(&ledger, 1500))
            };
            let mut seen = Vec::new();
            while seen.len() < 3 * 2100 {
                // It is left now and then, with records that were read and not taken.
                let after = seen.last().copied().unwrap_or(0);
                let mut follow = Follow::new(&ledger, after, |query| query).unwrap();
                for _ in 0..777.min(3 * 2100 - seen.len()) {
                    seen.push(follow.next().await.unwrap().unwrap().seq);
                }
            }
            writer.join().unwrap();
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
            let all = ledger.query().history(true).limit(10_000).fetch().unwrap();
            assert_eq!(all.len(), seen.len());
        })
    });
}

/// A stream of a ledger that was closed went on to look for more, and never ended.
#[test]
fn a_stream_ends_behind_the_last_record_of_a_ledger_that_is_closed() {
    on_each(|| {
        Box::pin(async {
            let (ledger, _, _dir) = ledger();
            write(&ledger, 200);
            let writers = [ledger.clone(), ledger.clone()].map(|ledger| {
                std::thread::spawn(move || {
                    while ledger.append_with(Event::new("t"), Durability::Os).is_ok() {}
                })
            });
            let mut follow = Follow::new(&ledger, 0, |query| query).unwrap();
            for _ in 0..1000 {
                follow.next().await.unwrap().unwrap();
            }
            ledger.close().unwrap();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            let rest = follow.map(Result::unwrap).count().await;
            let all = ledger.query().history(true).count().unwrap();
            assert_eq!(1000 + rest as u64, all);
        })
    });
}

/// One who looked for a text while following was told of a damaged record, and of nothing after it.
#[test]
fn a_stream_with_a_text_goes_on_behind_damage() {
    on_each(|| {
        Box::pin(async {
            let (ledger, _, dir) = ledger();
            for name in ["one", "two", "three"] {
                ledger.append(ErrorRecord::new(name, "needle")).unwrap();
            }
            assert_eq!(ledger.query().count().unwrap(), 3);
            damage_second(&dir, "errors");
            let mut follow = Follow::new(&ledger, 0, |query| query.text("needle")).unwrap();
            assert_eq!(follow.next().await.unwrap().unwrap().seq, 1);
            let damaged = follow.next().await.unwrap();
            assert!(matches!(damaged, Err(Error::Damaged { .. })), "{damaged:?}");
            assert_eq!(follow.next().await.unwrap().unwrap().seq, 3);
        })
    });
}

#[test]
fn a_stream_gives_what_its_query_asks_for_as_it_comes() {
    on_each(|| {
        Box::pin(async {
            let (ledger, _, _dir) = ledger();
            write(&ledger, 10);
            let errors = |query: runledger::Query| query.kind(Kind::Error);
            let mut follow = Follow::new(&ledger, 0, errors).unwrap();
            for _ in 0..10 {
                let record = follow.next().await.unwrap().unwrap();
                assert_eq!(record.body.kind(), Kind::Error);
            }
            let late = ledger.clone();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(120));
                late.append(ErrorRecord::new("late", "m")).unwrap()
            });
            assert_eq!(follow.next().await.unwrap().unwrap().seq, thread.join().unwrap());
            drop(follow);
        })
    });
}
