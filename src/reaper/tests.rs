//! Tests of the reaper with toy caches and real threads. Nothing sleeps: a toy reports each visit
//! through a channel and waits for its answer through another.

use super::*;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::ThreadId;
use std::time::Duration;

/// Long enough that only a thread that never does it fails to.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq)]
enum Event {
    Sweep,
    Reclaim,
    /// The toy's destructor ran on this thread.
    Dropped(ThreadId),
}

enum Answer {
    Next(Tick),
    Garbage(bool),
    Panic,
}

use Answer::{Garbage, Next};
use Event::{Reclaim, Sweep as Swept};

/// A cache that only reports its visits and gives the answers that the test chooses.
struct Toy {
    events: Sender<Event>,
    answers: std::sync::Mutex<Receiver<Answer>>,
    registration: std::sync::OnceLock<Registration>,
}

impl Toy {
    fn say(&self, event: Event) -> Answer {
        self.events.send(event).unwrap();
        self.answers.lock().unwrap().recv_timeout(TIMEOUT).unwrap()
    }
}

impl Sweep for Toy {
    fn sweep(&self, _: Tick) -> (Tick, Span) {
        match self.say(Swept) {
            Next(tick) => (tick, Span::NONE),
            Garbage(_) => panic!("asked to sweep"),
            Answer::Panic => std::panic::panic_any(Bomb),
        }
    }

    fn reclaim(&self) -> bool {
        match self.say(Reclaim) {
            Garbage(garbage) => garbage,
            _ => panic!("asked to reclaim"),
        }
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Dropped(std::thread::current().id()));
    }
}

/// A payload that panics when it is dropped, and once more.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Shard);
    }
}
struct Shard;
impl Drop for Shard {
    fn drop(&mut self) {
        panic!("the payload of the payload");
    }
}

/// The test's handle of a toy.
struct Handle {
    toy: std::cell::RefCell<Option<Arc<Toy>>>,
    events: Receiver<Event>,
    answers: Sender<Answer>,
}

impl Handle {
    fn new(reaper: &Reaper) -> Self {
        let (to_test, events) = mpsc::channel();
        let (answers, from_test) = mpsc::channel();
        let toy =
            Arc::new(Toy { events: to_test, answers: from_test.into(), registration: Default::default() });
        let weak: Weak<Toy> = Arc::downgrade(&toy);
        let registration = reaper.register(weak).unwrap();
        assert!(toy.registration.set(registration).is_ok());
        Self { toy: Some(toy).into(), events, answers }
    }

    fn wake(&self, at: Tick) {
        assert!(self.toy.borrow().as_ref().unwrap().registration.get().unwrap().wake(at));
    }

    /// Drops the test's handle of the toy.
    fn let_go(&self) {
        self.toy.take();
    }

    /// Expects that the next visit is `event`, and sends the toy's answer.
    fn expect(&self, event: Event, answer: Answer) {
        assert_eq!(self.event(), event);
        self.answers.send(answer).unwrap();
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(TIMEOUT).unwrap()
    }

    /// Expects the one round that a wake-up leads to.
    fn expect_round(&self) {
        self.expect(Swept, Next(Tick::NEVER));
        self.expect(Reclaim, Garbage(false));
    }
}

fn now() -> Tick {
    Timeline::system().now()
}

fn running(reaper: &Reaper) -> bool {
    let state = reaper.core().unwrap().state.lock();
    state.thread.as_ref().is_some_and(|worker| worker.running)
}

#[test]
fn a_thread_starts_with_the_first_cache_and_ends_after_the_last() {
    let reaper = Reaper::dedicated();
    assert!(!running(&reaper));
    let (one, two) = (Handle::new(&reaper), Handle::new(&reaper));
    one.let_go();
    two.wake(now());
    two.expect_round();
    assert!(running(&reaper));
    two.let_go();
    reaper.join();
    assert!(!running(&reaper));
    // The reaper works again, as if nothing had happened.
    let three = Handle::new(&reaper);
    three.wake(now());
    three.expect_round();
    three.let_go();
    reaper.join();
    assert!(!running(&reaper));
}

#[test]
fn a_wake_up_leads_to_one_visit_and_sleep_to_none() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    for _ in 0..100 {
        toy.wake(now());
        toy.expect_round();
    }
    toy.let_go();
    reaper.join();
    // Everything that was ever reported has been expected above.
    assert!(matches!(toy.event(), Event::Dropped(_)));
    assert!(toy.events.try_recv().is_err());
}

#[test]
fn a_wake_up_during_a_sweep_is_not_lost() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now());
    assert_eq!(toy.event(), Swept);
    toy.wake(now()); // its sweep has not returned
    toy.answers.send(Next(Tick::NEVER)).unwrap();
    assert_eq!(toy.event(), Reclaim);
    toy.wake(now());
    toy.answers.send(Garbage(false)).unwrap();
    toy.expect_round(); // one round does for both
    toy.let_go();
    reaper.join();
    assert!(matches!(toy.event(), Event::Dropped(_)));
}

#[test]
fn it_comes_back_when_sweep_said_so_and_not_before() {
    // On a busy machine this thread may be late: then once more, with more time.
    let is_judged = |doubled: u32| comes_back_once_in(Duration::from_millis(30_u64 << doubled));
    assert!((0..8).any(is_judged), "this thread is seconds late");
}

/// Returns false if this thread called too late: then the reaper may come once more.
fn comes_back_once_in(time: Duration) -> bool {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now());
    let due = now().after(Span::from_duration(time));
    toy.expect(Swept, Next(due));
    toy.expect(Reclaim, Garbage(false));
    // This is later than the promise, so the thread need not be told.
    toy.wake(due.after(Span::from_nanos(1)));
    let is_in_time = now() < due;
    assert_eq!(toy.event(), Swept);
    assert!(now() >= due);
    toy.answers.send(Next(Tick::NEVER)).unwrap();
    toy.expect(Reclaim, Garbage(false));
    if !is_in_time {
        // The answers for the other visit, if there is one.
        toy.answers.send(Next(Tick::NEVER)).unwrap();
        toy.answers.send(Garbage(false)).unwrap();
    }
    toy.let_go();
    reaper.join();
    assert!(!is_in_time || matches!(toy.event(), Event::Dropped(_)));
    is_in_time
}

#[test]
fn an_earlier_wake_up_overtakes_a_later_one() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now().after(Span::from_duration(Duration::from_secs(3600))));
    toy.wake(now());
    toy.expect_round();
    toy.let_go();
    reaper.join();
}

#[test]
fn garbage_is_looked_after_until_it_is_gone_and_nothing_else_is() {
    let reaper = Reaper::dedicated();
    let (toy, clean) = (Handle::new(&reaper), Handle::new(&reaper));
    toy.wake(now());
    toy.expect(Swept, Next(Tick::NEVER));
    toy.expect(Reclaim, Garbage(true));
    clean.expect_round();
    for _ in 0..4 {
        toy.expect(Reclaim, Garbage(true));
    }
    toy.expect(Reclaim, Garbage(false));
    for handle in [toy, clean] {
        handle.let_go();
        assert!(matches!(handle.event(), Event::Dropped(_)));
    }
    reaper.join();
}

/// However long a thread delays reclamation, the reaper comes again soon: garbage is dropped
/// shortly after it becomes reclaimable.
#[test]
fn garbage_that_waits_for_long_is_looked_after_all_the_same() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now());
    toy.expect(Swept, Next(Tick::NEVER));
    // Pauses that were doubled each time would reach a minute by then.
    for _ in 0..16 {
        toy.expect(Reclaim, Garbage(true));
    }
    // One of some pauses, since the machine may have stood still in another.
    let is_short = |_| {
        let before = now();
        toy.expect(Reclaim, Garbage(true));
        now().since(before) < Span::from_duration(Duration::from_secs(1))
    };
    assert!((0..5).any(is_short), "each pause took a second or more");
    toy.expect(Reclaim, Garbage(false));
    toy.let_go();
    reaper.join();
}

#[test]
fn a_wake_up_reaches_a_thread_that_waits_for_garbage() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now());
    toy.expect(Swept, Next(Tick::NEVER));
    assert_eq!(toy.event(), Reclaim);
    toy.wake(now());
    toy.answers.send(Garbage(true)).unwrap();
    toy.expect_round();
    toy.let_go();
    reaper.join();
}

#[test]
fn a_panic_leaves_the_reaper_alive_and_the_other_caches_served() {
    let reaper = Reaper::dedicated();
    let (bad, good) = (Handle::new(&reaper), Handle::new(&reaper));
    bad.wake(now());
    bad.expect(Swept, Answer::Panic);
    good.expect_round();
    // It comes again within about a second, on its own.
    bad.expect(Swept, Next(Tick::NEVER));
    bad.expect(Reclaim, Answer::Panic);
    good.expect_round();
    bad.expect_round();
    good.expect_round();
    bad.let_go();
    good.let_go();
    reaper.join();
}

#[test]
fn the_last_handle_may_be_the_reapers_own() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now());
    assert_eq!(toy.event(), Swept);
    toy.let_go(); // returns although the sweep has not
    toy.answers.send(Next(Tick::NEVER)).unwrap();
    toy.expect(Reclaim, Garbage(true));
    let Event::Dropped(thread) = toy.event() else { panic!("not dropped") };
    assert_ne!(thread, std::thread::current().id());
    reaper.join();
}

#[test]
fn a_sleeping_reaper_holds_no_cache() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    toy.wake(now());
    toy.expect_round();
    // The thread drops its handle of the cache before it sleeps. `promise` changes only after that.
    toy.wake(now());
    toy.expect(Swept, Next(now().after(Span::from_duration(Duration::from_secs(3600)))));
    toy.expect(Reclaim, Garbage(false));
    let promise = {
        let cache = toy.toy.borrow();
        let Registration(place) = cache.as_ref().unwrap().registration.get().unwrap();
        Arc::clone(&place.as_ref().unwrap().promise)
    };
    while promise.tick() == Tick::NEVER {
        std::thread::yield_now();
    }
    toy.let_go();
    assert_eq!(toy.event(), Event::Dropped(std::thread::current().id()));
    reaper.join();
}

#[test]
fn joining_on_the_reapers_own_thread_returns() {
    struct Joiner(Reaper, Sender<()>);
    impl Sweep for Joiner {
        fn sweep(&self, _: Tick) -> (Tick, Span) {
            self.0.join();
            self.1.send(()).unwrap();
            (Tick::NEVER, Span::NONE)
        }
        fn reclaim(&self) -> bool {
            false
        }
    }
    let reaper = Reaper::dedicated();
    let (sender, joined) = mpsc::channel();
    let joiner = Arc::new(Joiner(reaper.clone(), sender));
    let weak: Weak<Joiner> = Arc::downgrade(&joiner);
    let registration = reaper.register(weak).unwrap();
    assert!(registration.wake(now()));
    joined.recv_timeout(TIMEOUT).unwrap();
    drop((registration, joiner));
    reaper.join();
}

#[test]
fn any_number_of_threads_may_join() {
    let reaper = Reaper::dedicated();
    let toy = Handle::new(&reaper);
    let (sender, joined) = mpsc::channel();
    let joiners: Vec<_> = (0..4)
        .map(|_| {
            let (reaper, sender) = (reaper.clone(), sender.clone());
            std::thread::spawn(move || {
                reaper.join();
                sender.send(running(&reaper)).unwrap();
            })
        })
        .collect();
    toy.wake(now());
    toy.expect_round();
    assert!(joined.try_recv().is_err(), "returned while a cache was left");
    toy.let_go();
    for joiner in joiners {
        assert!(!joined.recv_timeout(TIMEOUT).unwrap());
        joiner.join().unwrap();
    }
    reaper.join();
}

/// No call has to join the shared reaper. So nothing of its thread is kept once the thread has
/// ended, not even until the next one starts.
#[test]
fn of_a_shared_reaper_that_nobody_joins_nothing_is_kept() {
    let reaper = Reaper(Kind::Shared(Arc::new(Core { is_shared: true, ..Core::new() })));
    let has_thread = || reaper.core().unwrap().state.lock().thread.is_some();
    for _ in 0..2 {
        let toy = Handle::new(&reaper);
        toy.wake(now());
        toy.expect_round();
        assert!(has_thread());
        toy.let_go();
        let start = now();
        while has_thread() {
            assert!(now().since(start) < Span::from_duration(TIMEOUT));
            std::thread::yield_now();
        }
        reaper.join(); // nothing to wait for
    }
    // Calls that wait already are told when the thread has ended.
    let toy = Handle::new(&reaper);
    std::thread::scope(|scope| {
        let joiners = [0, 1].map(|_| scope.spawn(|| reaper.join()));
        while reaper.core().unwrap().state.lock().joining < 2 {
            std::thread::yield_now();
        }
        assert!(joiners.iter().all(|joiner| !joiner.is_finished()));
        toy.wake(now());
        toy.expect_round();
        toy.let_go();
    });
    assert!(!has_thread());
}

#[test]
fn build_against_a_reaper_about_to_end() {
    let reaper = Reaper::dedicated();
    for _ in 0..500 {
        // The thread of the previous toy may be at any point of its end.
        let toy = Handle::new(&reaper);
        toy.wake(now());
        toy.expect_round();
    }
    reaper.join();
}

#[test]
fn a_thread_that_cannot_start_is_an_error_and_registers_nothing() {
    let mut core = Core::new();
    // More than there is to address, on machines of 32 bits too.
    core.stack_size = Some(usize::MAX - (64 << 20));
    let reaper = Reaper(Kind::Dedicated(Arc::new(core)));
    struct Idle;
    impl Sweep for Idle {
        fn sweep(&self, _: Tick) -> (Tick, Span) {
            (Tick::NEVER, Span::NONE)
        }
        fn reclaim(&self) -> bool {
            false
        }
    }
    let cache = Arc::new(Idle);
    let weak: Weak<Idle> = Arc::downgrade(&cache);
    assert!(reaper.register(weak).is_err());
    assert_eq!(Arc::weak_count(&cache), 0);
    assert!(!running(&reaper));
    reaper.join(); // nothing to wait for
}

#[test]
fn a_manual_reaper_has_no_thread_and_the_others_are_themselves() {
    assert!(Reaper::manual().is_manual());
    assert!(!Reaper::default().is_manual() && !Reaper::dedicated().is_manual());
    Reaper::manual().join();
    for (reaper, name) in [
        (Reaper::default(), "Reaper::shared()"),
        (Reaper::dedicated(), "Reaper::dedicated()"),
        (Reaper::manual(), "Reaper::manual()"),
    ] {
        assert_eq!(format!("{reaper:?}"), name);
    }
    let toy = Handle::new(&Reaper::manual());
    toy.wake(now());
    toy.let_go();
    // It was dropped without ever having been visited.
    assert_eq!(toy.event(), Event::Dropped(std::thread::current().id()));
}

#[test]
fn the_shared_reaper_is_one() {
    let (one, two) = (Reaper::shared(), Reaper::default());
    assert!(Arc::ptr_eq(one.core().unwrap(), two.core().unwrap()));
    assert!(!Arc::ptr_eq(one.core().unwrap(), Reaper::dedicated().core().unwrap()));
}
