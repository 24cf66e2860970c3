//! Jobs that run to their end.

mod common;

use common::{Counter, Pending, poll, pool, resident, text};
use lampwick_fibers::{Resident, StackPool, Suspender};
use std::backtrace::Backtrace;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[tokio::test]
async fn a_job_yields_and_waits() {
    let pool = pool();
    let mut fiber = Resident::new(pool.take().unwrap());
    for round in 0..10 {
        let answer = fiber
            .run(|suspender| {
                let mut sum = round;
                for n in 0..10 {
                    suspender.yield_now().unwrap();
                    sum += suspender
                        .block_on(async move {
                            tokio::task::yield_now().await;
                            n
                        })
                        .unwrap();
                }
                sum
            })
            .await;
        assert_eq!(answer, 45 + round);
        assert_eq!(fiber.run_blocking(|_| 7), 7);
    }
    drop(fiber);
    assert_eq!((pool.live(), pool.idle()), (0, 1));
}

#[test]
fn each_yield_is_pending_once_and_wakes_once() {
    let mut fiber = resident();
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(counter.clone());
    let mut context = Context::from_waker(&waker);
    let mut run = pin!(fiber.run(|suspender| (0..5).try_for_each(|_| suspender.yield_now())));
    for round in 1..=5 {
        assert!(run.as_mut().poll(&mut context).is_pending());
        // Outside of a runtime the wake is immediate.
        assert_eq!(counter.count(), round);
    }
    let result: Poll<Result<(), _>> = run.as_mut().poll(&mut context);
    assert_eq!(result, Poll::Ready(Ok(())));
    assert_eq!(counter.count(), 5);
}

#[test]
fn each_poll_hands_over_its_own_waker() {
    let mut fiber = resident();
    let mut run = pin!(fiber.run(|suspender| suspender.block_on(Pending(20))));
    for _ in 0..20 {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(counter.clone());
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(counter.count(), 1);
    }
    assert_eq!(poll(run), Poll::Ready(Ok(())));
}

#[test]
fn a_spurious_poll_polls_the_future_again() {
    let mut fiber = resident();
    let polls = std::cell::Cell::new(0);
    let mut run = pin!(fiber.run(|suspender| {
        suspender.block_on(poll_fn(|_| {
            polls.set(polls.get() + 1);
            if polls.get() == 4 { Poll::Ready(()) } else { Poll::Pending }
        }))
    }));
    for _ in 0..3 {
        assert!(poll(run.as_mut()).is_pending());
    }
    assert_eq!(poll(run), Poll::Ready(Ok(())));
    assert_eq!(polls.get(), 4);
}

#[test]
fn a_pinned_future_is_waited_for_in_place() {
    let mut fiber = resident();
    let mut future = pin!(Pending(2));
    let mut run = pin!(fiber.run(|suspender| suspender.block_on_pinned(future.as_mut())));
    assert!(poll(run.as_mut()).is_pending());
    assert!(poll(run.as_mut()).is_pending());
    assert_eq!(poll(run), Poll::Ready(Ok(())));
}

#[test]
fn a_blocking_job_does_not_suspend() {
    let mut fiber = resident();
    let answer = fiber.run_blocking(|suspender| {
        assert!(suspender.is_blocking() && !suspender.is_cancelled());
        assert_eq!(suspender.yield_now(), Ok(()));
        suspender.block_on(async { 42 })
    });
    assert_eq!(answer, Ok(42));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        fiber.run_blocking(|suspender| suspender.block_on(Pending(1)))
    }))
    .unwrap_err();
    assert!(text(&*panic).contains("pending future in a job started by run_blocking"));
    assert!(poll(pin!(fiber.run(|suspender| !suspender.is_blocking()))) == Poll::Ready(true));
}

#[test]
fn a_future_that_is_polled_cannot_suspend_its_fiber() {
    let mut fiber = resident();
    let mut run = pin!(fiber.run(|suspender| {
        let inner = poll_fn(|context| {
            // A yield here would let `context` dangle.
            assert_eq!(suspender.yield_now(), Ok(()));
            let panic = catch_unwind(AssertUnwindSafe(|| suspender.block_on(Pending(1))));
            assert!(text(&*panic.unwrap_err()).contains("await there instead"));
            context.waker().wake_by_ref();
            Poll::Ready(5)
        });
        let answer = suspender.block_on(inner).unwrap();
        // The context is back.
        suspender.yield_now().unwrap();
        answer
    }));
    assert!(poll(run.as_mut()).is_pending());
    assert_eq!(poll(run), Poll::Ready(5));
}

#[test]
fn the_context_is_back_after_a_future_panicked() {
    let mut fiber = resident();
    let mut run = pin!(fiber.run(|suspender| {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            suspender.block_on(poll_fn::<(), _>(|_| panic!("in the future")))
        }));
        assert_eq!(text(&*panic.unwrap_err()), "in the future");
        suspender.yield_now()
    }));
    assert!(poll(run.as_mut()).is_pending());
    assert_eq!(poll(run), Poll::Ready(Ok(())));
}

#[test]
fn a_fiber_within_a_fiber() {
    let pool = pool();
    let mut outer = Resident::new(pool.take().unwrap());
    let mut inner = Resident::new(pool.take().unwrap());
    let mut run = pin!(outer.run(|outer| {
        // The inner fiber suspends the outer one, with itself upon it.
        let first = inner.run_blocking(|_| outer.yield_now().map(|()| 1)).unwrap();
        let job = |inner: &Suspender| {
            inner.yield_now()?;
            outer.yield_now()?; // does nothing: the outer fiber is polling
            inner.block_on(Pending(1)).map(|()| 2)
        };
        first + outer.block_on(inner.run(job)).unwrap().unwrap()
    }));
    for _ in 0..3 {
        assert!(poll(run.as_mut()).is_pending());
    }
    assert_eq!(poll(run), Poll::Ready(3));
}

#[test]
fn large_jobs_and_results_and_deep_frames() {
    fn deep(suspender: &Suspender, depth: usize) -> usize {
        let frame = std::hint::black_box([depth; 16]);
        if depth == 0 {
            suspender.yield_now().unwrap();
            return 0;
        }
        deep(suspender, depth - 1) + frame[depth % 16]
    }
    // Unoptimized code copies large values from frame to frame.
    let mut fiber = Resident::new(StackPool::new().take().unwrap());
    let large = [7_u64; 500];
    let mut run = pin!(fiber.run(move |suspender| (deep(suspender, 50), large)));
    assert!(poll(run.as_mut()).is_pending());
    let Poll::Ready((sum, copy)) = poll(run) else { panic!("pending") };
    assert_eq!(sum, 50 * 51 / 2);
    assert_eq!(copy, large);
}

#[test]
fn zero_sized_and_overaligned_results() {
    #[repr(align(128))]
    struct Aligned(u8);
    let mut fiber = resident();
    fiber.run_blocking(|_| ());
    let aligned = fiber.run_blocking(|_| {
        let here = Aligned(3);
        assert_eq!((&raw const here).addr() % 128, 0);
        here
    });
    assert_eq!(aligned.0, 3);
}

#[test]
fn a_backtrace_ends_at_the_fibers_base() {
    #[inline(never)]
    fn look_for_me() -> String {
        Backtrace::force_capture().to_string()
    }
    let pool = pool();
    let mut fiber = Resident::new(pool.take().unwrap());
    // Its guard lies right above the fiber's base: a walk that goes too far dies of it.
    let _above = pool.take().unwrap();
    let trace = fiber.run_blocking(|_| look_for_me());
    assert!(trace.contains("look_for_me"), "{trace}");
    // Our own switch ends the walk at the base; the portable one may go on into the caller.
    assert!(trace.lines().count() < 400, "{trace}");
}

#[test]
fn the_future_says_when_it_is_polled_too_often() {
    let mut fiber = resident();
    let mut run = pin!(fiber.run(|_| 1));
    assert_eq!(poll(run.as_mut()), Poll::Ready(1));
    let panic = catch_unwind(AssertUnwindSafe(|| poll(run.as_mut()))).unwrap_err();
    assert!(text(&*panic).contains("polled after it had finished"));
}

#[test]
fn a_stack_changes_residents() {
    let mut stack = pool().take().unwrap();
    for round in 0..100 {
        let mut fiber = Resident::new(stack);
        assert_eq!(fiber.run_blocking(|_| round), round);
        stack = fiber.into_stack();
    }
    // One that never ran.
    drop(Resident::new(stack));
}

#[test]
fn what_lies_below_the_unused_top_is_nobodys() {
    let mut fiber = resident();
    for round in 0..3 {
        let (bottom, top) = (fiber.stack().bottom(), fiber.unused_top());
        assert_eq!(top.addr() % 16, 0);
        let bytes = top.addr() - bottom.addr();
        assert!(bytes > 32 << 10, "the fiber takes {bytes} of 64 KiB for itself");
        // SAFETY: the fiber is idle, and so this part of its stack is in nobody's use.
        unsafe { bottom.write_bytes(0xa5, bytes) };
        assert_eq!(fiber.run_blocking(|_| round), round);
        let mut run = pin!(fiber.run(|suspender| suspender.yield_now()));
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(poll(run.as_mut()), Poll::Ready(Ok(())));
    }
}

#[test]
fn a_suspender_without_a_fiber_does_not_suspend() {
    let suspender = Suspender::blocking();
    assert!(suspender.is_blocking() && !suspender.is_cancelled());
    assert_eq!(suspender.yield_now(), Ok(()));
    assert_eq!(suspender.block_on(async { 7 }), Ok(7));
    let waiting =
        catch_unwind(AssertUnwindSafe(|| suspender.block_on(std::future::pending::<()>())));
    assert!(text(&*waiting.unwrap_err()).contains("block_on met a pending future"));
}
