//! Jobs that do not reach their end: dropped, panicking, forgotten, and all of it at once.

mod common;

use common::{Dropped, Pending, poll, pool, resident, text, yield_by_assembly};
use lampwick_fibers::{Cancelled, Resident, Suspender};
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::{Pin, pin};
use std::task::Poll;

/// How the job of the matrix ends once it is cancelled or has done its six steps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Returns,
    Panics,
    /// Tries to go on as if nothing had happened, then returns.
    Stubborn,
}

/// Six suspensions of all kinds, with a value alive across each.
fn six_steps(
    suspender: &Suspender,
    drops: &Cell<usize>,
    ending: Ending,
) -> Result<usize, Cancelled> {
    let mut outcome = Ok(6);
    for step in 0..6 {
        let _alive = Dropped(drops);
        let result = match step % 3 {
            0 if step == 0 => suspender.yield_now(),
            0 => yield_by_assembly(suspender),
            1 => suspender.block_on(Pending(1)),
            _ => suspender.block_on(async {
                let _inside = Dropped(drops);
                Pending(1).await;
            }),
        };
        if result.is_err() {
            assert!(suspender.is_cancelled());
            outcome = Err(Cancelled);
            if ending != Ending::Stubborn {
                break;
            }
        }
    }
    match ending {
        Ending::Panics => panic!("the job's own"),
        Ending::Returns | Ending::Stubborn => outcome,
    }
}

#[test]
fn drop_or_finish_after_each_suspension() {
    let pool = pool();
    let mut fiber = Resident::new(pool.take().unwrap());
    for ending in [Ending::Returns, Ending::Panics, Ending::Stubborn] {
        for polls in 0..=7 {
            let drops = Cell::new(0);
            let outcome = RefCell::new(None);
            let captured = Dropped(&drops);
            let mut run = Box::pin(fiber.run(|suspender| {
                let _captured = captured;
                let result = six_steps(suspender, &drops, ending);
                *outcome.borrow_mut() = Some(result);
            }));
            let mut caught = None;
            for _ in 0..polls.min(6) {
                assert!(poll(run.as_mut()).is_pending());
            }
            if polls == 7 {
                let last = catch_unwind(AssertUnwindSafe(|| poll(run.as_mut())));
                caught = last.map(|poll| assert!(poll.is_ready())).err();
            }
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(run)));
            let caught = caught.or(dropped.err());

            let case = format!("{ending:?} after {polls} polls");
            let ran = polls > 0;
            assert_eq!(caught.is_some(), ran && ending == Ending::Panics, "{case}");
            if let Some(panic) = caught {
                assert_eq!(text(&*panic), "the job's own", "{case}");
            }
            let expected = match (ran, ending) {
                (false, _) | (_, Ending::Panics) => None,
                _ if polls == 7 => Some(Ok(6)),
                _ => Some(Err(Cancelled)),
            };
            assert_eq!(*outcome.borrow(), expected, "{case}");
            // The closure's own value, one for each step begun, one in each third step's future
            // (which is never begun after the cancellation).
            let begun = if ran && ending == Ending::Stubborn { 6 } else { polls.min(6) };
            assert_eq!(drops.get(), 1 + begun + polls.min(6) / 3, "{case}");
            assert_eq!(fiber.run_blocking(|_| 1), 1, "{case}");
        }
    }
    drop(fiber);
    assert_eq!((pool.live(), pool.idle()), (0, 1));
}

#[test]
fn a_panic_continues_in_the_caller() {
    let mut fiber = resident();
    for round in 0..3 {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            fiber.run_blocking(|_| {
                panic_any(round);
            })
        }))
        .unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&round));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            poll(pin!(fiber.run(|_| if round < 9 {
                panic!("round {round}")
            })))
        }))
        .unwrap_err();
        assert_eq!(text(&*panic), format!("round {round}"));
        assert!(!std::thread::panicking());
    }
    assert_eq!(fiber.run_blocking(|_| "fine"), "fine");
}

#[test]
fn a_panic_between_suspensions_continues_in_the_poller() {
    let mut fiber = resident();
    let drops = Cell::new(0);
    {
        let mut run = pin!(fiber.run(|suspender| {
            let _alive = Dropped(&drops);
            suspender.yield_now().unwrap();
            panic!("after a yield");
        }));
        assert!(poll(run.as_mut()).is_pending());
        let panic = catch_unwind(AssertUnwindSafe(|| poll(run.as_mut()))).unwrap_err();
        assert_eq!(text(&*panic), "after a yield");
    }
    assert_eq!(drops.get(), 1);
    assert_eq!(fiber.run_blocking(|_| 1), 1);
}

/// A payload whose own drop panics.
struct Vicious;

impl Drop for Vicious {
    fn drop(&mut self) {
        panic!("the payload's own drop");
    }
}

#[test]
fn a_panic_on_cancellation_is_swallowed_while_unwinding() {
    let mut fiber = resident();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let mut run = pin!(fiber.run(|suspender| {
            if suspender.yield_now().is_err() {
                panic_any(Vicious);
            }
        }));
        assert!(poll(run.as_mut()).is_pending());
        panic!("the poller's own");
    }))
    .unwrap_err();
    assert_eq!(text(&*panic), "the poller's own");
    assert!(!std::thread::panicking());
    assert_eq!(fiber.run_blocking(|_| 1), 1);
}

#[test]
fn a_job_that_unwinds_cannot_suspend() {
    struct WaitsOnDrop<'a>(&'a Suspender, &'a Cell<usize>);
    impl Drop for WaitsOnDrop<'_> {
        fn drop(&mut self) {
            let ready = self.0.block_on(async {});
            let answers = [self.0.yield_now(), self.0.block_on(Pending(1))];
            assert_eq!(ready, Ok(()));
            assert_eq!(answers, [Err(Cancelled), Err(Cancelled)]);
            assert!(!self.0.is_cancelled());
            self.1.set(self.1.get() + 1);
        }
    }
    let mut fiber = resident();
    let waited = Cell::new(0);
    {
        let mut run = pin!(fiber.run(|suspender| {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                let _waits = WaitsOnDrop(suspender, &waited);
                panic!("caught by the job");
            }));
            assert!(panic.is_err());
            // The panic is over: suspending works again.
            suspender.yield_now()
        }));
        assert!(poll(run.as_mut()).is_pending());
        assert_eq!(waited.get(), 1);
        assert_eq!(poll(run), Poll::Ready(Ok(())));
    }
    assert_eq!(fiber.run_blocking(|_| 1), 1);
}

#[test]
fn a_forgotten_future_keeps_its_stack_for_ever() {
    let pool = pool();
    let mut fiber = Resident::new(pool.take().unwrap());
    let lent = Cell::new(0);
    {
        let run = fiber.run(|suspender| {
            let _alive = Dropped(&lent);
            suspender.yield_now()
        });
        // A box that is never freed: what is pinned may be forgotten, but not its memory reused.
        let mut run = ManuallyDrop::new(Box::new(run));
        // SAFETY: the box is leaked, so the future never moves.
        assert!(poll(unsafe { Pin::new_unchecked(&mut **run) }).is_pending());
    }
    assert!(fiber.is_busy());
    for attempt in [
        catch_unwind(AssertUnwindSafe(|| fiber.run_blocking(|_| ()))),
        catch_unwind(AssertUnwindSafe(|| drop(fiber.run(|_| ())))),
    ] {
        assert!(text(&*attempt.unwrap_err()).contains("this fiber is busy"));
    }
    drop(fiber);
    assert_eq!((pool.live(), pool.idle()), (1, 0));
    assert_eq!(lent.get(), 0);
    assert_eq!(pool.slabs(), 1);
}

#[test]
fn a_future_forgotten_before_its_first_poll_costs_nothing() {
    let mut fiber = resident();
    std::mem::forget(fiber.run(|_| ()));
    assert!(!fiber.is_busy());
    assert_eq!(fiber.run_blocking(|_| 1), 1);
}

#[test]
fn a_cancelled_outer_job_cancels_what_it_waits_for() {
    let pool = pool();
    let (mut outer, mut inner) =
        (Resident::new(pool.take().unwrap()), Resident::new(pool.take().unwrap()));
    let seen = Cell::new(None);
    {
        let mut run = pin!(outer.run(|outer| {
            let job = |suspender: &Suspender| seen.set(Some(suspender.yield_now()));
            outer.block_on(inner.run(job))
        }));
        assert!(poll(run.as_mut()).is_pending());
    }
    assert_eq!(seen.get(), Some(Err(Cancelled)));
    assert_eq!((outer.run_blocking(|_| 1), inner.run_blocking(|_| 2)), (1, 2));
}
