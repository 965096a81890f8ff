//! Futures without a runtime: a bell for a waker, an executor that parks its thread, futures that are pending so many
//! times. Knows nothing of caches.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// A waker that remembers whether it was woken, and wakes the thread that made it.
pub(crate) struct Bell {
    has_rung: AtomicBool,
    thread: Thread,
}

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { has_rung: AtomicBool::new(false), thread: thread::current() })
    }

    /// Whether it rang since it was asked last.
    pub(crate) fn take(&self) -> bool {
        self.has_rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// One poll, with that waker.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// The smallest executor: one future, polled again only if it was woken.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let (bell, mut future) = (Bell::new(), pin!(future));
    loop {
        if let Poll::Ready(output) = poll(future.as_mut(), &bell) {
            return output;
        }
        while !bell.take() {
            thread::park();
        }
    }
}

/// Is pending so many times, and wakes itself each time.
pub(crate) async fn pending(mut times: u32) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A future that is polled by hand, and then only if it was woken.
pub(crate) struct Running<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    bell: Arc<Bell>,
}

impl<T> Running<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Box::pin(future), bell: Bell::new() }
    }

    /// One that has been polled once, and waits for something.
    pub(crate) fn begun(future: impl Future<Output = T> + Send + 'static) -> Self {
        let mut running = Self::new(future);
        assert!(running.step().is_pending(), "it waits for nothing");
        running
    }

    /// One poll, woken or not.
    pub(crate) fn step(&mut self) -> Poll<T> {
        self.bell.take();
        poll(self.future.as_mut(), &self.bell)
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.bell.has_rung.load(Ordering::Acquire)
    }

    /// Polls until it is done. Nobody else runs meanwhile, so it is an error if it was not woken.
    pub(crate) fn finish(mut self) -> T {
        loop {
            assert!(self.is_woken(), "nobody woke it");
            if let Poll::Ready(output) = self.step() {
                return output;
            }
        }
    }
}
