//! Sessions on one thread, with owners and without: what it costs that "log out everywhere" misses none.
#![allow(missing_docs, reason = "criterion's macro writes a public function")]

use criterion::{
    BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use std::hint::black_box;
use std::time::Duration;
use tidewheel::{NoOwner, SessionId, SessionManager, SessionOwner, WhenCrowded};

/// Sessions that are there all the time, four of each owner.
const SESSIONS: u64 = 100_000;

#[derive(Clone)]
struct Visit {
    user: u64,
    clicks: u64,
}

fn operations<O: SessionOwner>(criterion: &mut Criterion, title: &str, sessions: &SessionManager<Visit, O>) {
    let visit = |user| Visit { user: user % (SESSIONS / 4), clicks: 0 };
    let ids: Vec<SessionId> = (0..SESSIONS).map(|user| sessions.create(visit(user)).unwrap()).collect();
    let mut turn = 0_usize;
    let mut next = || {
        // Far from the last one, so that it is not in the cache of the processor.
        turn = (turn + 61_803) % ids.len();
        ids[turn]
    };
    let mut group: BenchmarkGroup<'_, WallTime> = criterion.benchmark_group(format!("sessions, {title}"));
    group.measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    group.bench_function("get", |bencher| bencher.iter(|| black_box(sessions.get(&next()).unwrap())));
    group.bench_function("get_and_touch", |bencher| {
        bencher.iter(|| black_box(sessions.get_and_touch(&next()).unwrap()));
    });
    group.bench_function("modify", |bencher| {
        bencher.iter(|| sessions.modify(&next(), |visit| visit.clicks += 1).unwrap());
    });
    group.bench_function("replace", |bencher| {
        bencher.iter_batched(
            || {
                let id = next();
                (id, sessions.get(&id).unwrap())
            },
            |(id, visit)| sessions.replace(&id, visit).unwrap(),
            BatchSize::SmallInput,
        );
    });
    let mut user = 0;
    group.bench_function("create and remove", |bencher| {
        bencher.iter(|| {
            user += 1;
            let id = sessions.create(visit(user)).unwrap();
            black_box(sessions.remove(&id).unwrap());
        });
    });
    let mut id = sessions.create(visit(0)).unwrap();
    group.bench_function("rotate", |bencher| bencher.iter(|| id = sessions.rotate(&id).unwrap()));
    group.finish();
}

fn sessions(criterion: &mut Criterion) {
    let builder = || SessionManager::<Visit>::builder().for_logins();
    let without: SessionManager<Visit, NoOwner> = builder().build().unwrap();
    operations(criterion, "without owners", &without);
    let with = builder().owner(|visit: &Visit| Some(visit.user)).build().unwrap();
    operations(criterion, "with owners", &with);
    let limited = builder().owner(|visit: &Visit| Some(visit.user)).max_per_owner(5, WhenCrowded::EndOldest);
    operations(criterion, "with owners and a limit", &limited.build().unwrap());
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = sessions
}
criterion_main!(benches);
