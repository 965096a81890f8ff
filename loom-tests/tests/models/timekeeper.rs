//! Models of the kept time alone: the timekeeper and those who read by it. The time is what the models say it is.

use crate::common::explore;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::sync::Arc;
use tidewheel::model::{KeptTime, Reader};

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

fn spawn<R: 'static>(
    time: &Arc<KeptTime>,
    run: impl FnOnce(&KeptTime) -> R + 'static,
) -> thread::JoinHandle<R> {
    let time = Arc::clone(time);
    thread::spawn(move || run(&time))
}

/// Kept since a second.
fn kept() -> Arc<KeptTime> {
    let time = Arc::new(KeptTime::new());
    time.write(SECOND);
    time
}

/// One that has just checked, at a second.
fn checked(time: &KeptTime) -> Reader {
    let reader = Reader::new();
    assert!(time.sees(&reader, 2 * SECOND, SECOND));
    reader
}

/// A reader finds the time old and publishes a new one while the timekeeper leaves: nobody trusts a word that nobody keeps.
#[test]
fn park_against_a_reader_that_finds_it_old() {
    explore(|| {
        let time = kept();
        let reader = spawn(&time, |time| {
            let reader = Reader::new();
            assert!(!time.sees(&reader, SECOND + 6 * MS, SECOND + 7 * MS));
        });
        time.leave();
        reader.join().unwrap();
        // An hour later.
        let reader = checked(&time);
        assert!(!time.sees(&reader, 5 * SECOND, 3600 * SECOND), "a time that nobody keeps");
    });
}

/// The timekeeper reads the clock, is held up, and writes, while readers find the time old and publish newer ones: for nobody
/// does it go back.
#[test]
fn a_late_write_against_readers_that_publish() {
    explore(|| {
        let time = kept();
        let readers = [7, 12].map(|ms| {
            spawn(&time, move |time| {
                let reader = Reader::new();
                let now = SECOND + ms * MS;
                assert!(!time.sees(&reader, now, now));
                // It has been seen to be over.
                assert!(!time.shows(&reader, now), "the time went back");
            })
        });
        time.write(SECOND + MS);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

/// The timekeeper stalls for ten seconds. Each reader sees what has ended meanwhile as often at most as it may trust.
#[test]
fn a_stall_against_two_readers() {
    explore(|| {
        let time = kept();
        let read = |time: &KeptTime, reader: &Reader| {
            (0..2).filter(|_| time.sees(reader, 5 * SECOND, 11 * SECOND)).count()
        };
        let other = spawn(&time, move |time| {
            let reader = Reader::new();
            let _ = time.sees(&reader, 5 * SECOND, SECOND);
            assert!(read(time, &reader) <= 1, "trusted more than once");
        });
        let reader = Reader::new();
        let _ = time.sees(&reader, 5 * SECOND, SECOND);
        assert!(read(&time, &reader) <= 1, "trusted more than once");
        other.join().unwrap();
    });
}

/// After a stall somebody has said that nobody keeps the time; the timekeeper, back again, does.
#[test]
fn a_timekeeper_that_comes_back_is_believed() {
    explore(|| {
        let time = kept();
        let finder = spawn(&time, |time| {
            assert!(!time.sees(&Reader::new(), 5 * SECOND, 11 * SECOND));
        });
        time.write(11 * SECOND);
        finder.join().unwrap();
        time.write(11 * SECOND + MS);
        let reader = Reader::new();
        assert!(time.sees(&reader, 12 * SECOND, 11 * SECOND + MS));
        assert!(time.shows(&reader, 12 * SECOND), "it is not kept");
    });
}

/// Two readers want a timekeeper: one starts it.
#[test]
fn two_readers_start_one_timekeeper() {
    explore(|| {
        let time = Arc::new(KeptTime::new());
        let starts = Arc::new(AtomicUsize::new(0));
        let call = |starts: Arc<AtomicUsize>| {
            move |time: &KeptTime| {
                time.call(|| {
                    starts.fetch_add(1, Ordering::Relaxed);
                    Ok(thread::current())
                });
            }
        };
        let readers = [(); 2].map(|()| spawn(&time, call(Arc::clone(&starts))));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(starts.load(Ordering::Relaxed), 1, "that many were started");
    });
}

/// A timekeeper that parks is called: it goes on, wherever it was.
#[test]
fn park_against_a_call() {
    explore(|| {
        let time = Arc::new(KeptTime::new());
        let timekeeper = spawn(&time, KeptTime::rest);
        // It is known as soon as it is started.
        time.call(|| Ok(timekeeper.thread().clone()));
        // Whoever calls before it says that it is about to park, calls again.
        while !time.rests() {
            thread::yield_now();
        }
        time.call(|| unreachable!("it is there"));
        timekeeper.join().unwrap();
    });
}
