//! Work of ours that a guest sized, cut into parts between which its fiber suspends.

use std::time::{Duration, Instant};

use lampwick_fibers::{Cancelled, Suspender};

/// What is done between two suspensions at the most, in bytes of memory that nobody has touched
/// before: the kernel clears them page by page, which makes that the slowest work of its size. It
/// takes some 25 us; the same of memory in use takes a tenth.
const PART: usize = 32 << 10;

/// Such bytes between two looks at the clock: a page.
const PER_LOOK: usize = 4 << 10;

/// Work that is worth parts, in such bytes.
pub(crate) const LONG_WORK: usize = 2 * PART + 1;

/// How long work goes on in one poll by the clock, whatever fuel there is.
pub(super) const LONG: Duration = Duration::from_micros(30);

/// Whether work that compares with so many bytes is worth parts.
pub(crate) fn is_long(bytes: usize) -> bool {
    bytes >= LONG_WORK
}

/// How a piece of work lets others run. On a stack that cannot suspend it goes on and on.
pub(crate) struct Pace<'s> {
    suspender: &'s Suspender,
    /// Up to the next suspension.
    left: usize,
    /// Up to the next look at the clock.
    unseen: usize,
    /// The first such look since the last suspension.
    since: Option<Instant>,
}

impl<'s> Pace<'s> {
    /// Of work on the suspender's fiber. Before the first part nobody has to wait.
    pub(crate) fn new(suspender: &'s Suspender) -> Self {
        Self { suspender, left: PART, unseen: PER_LOOK, since: None }
    }

    /// Of work that is done at once.
    pub(crate) fn straight() -> Pace<'static> {
        Pace::new(Suspender::blocking())
    }

    /// Whose fiber suspends.
    pub(crate) fn suspender(&self) -> &Suspender {
        self.suspender
    }

    /// Takes note of work that is about to be done, and compares with so many bytes. No work between
    /// two calls should be more than [`Self::parts`] makes it.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if the work is not wanted any more.
    #[inline]
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), Cancelled> {
        if bytes > self.unseen {
            self.look(bytes)?;
        }
        self.unseen = self.unseen.saturating_sub(bytes);
        self.left = self.left.saturating_sub(bytes);
        Ok(())
    }

    /// Suspends if it has been long, by what was done or by the clock: a page may take the system
    /// ten times as long as most do.
    #[cold]
    fn look(&mut self, bytes: usize) -> Result<(), Cancelled> {
        if self.suspender.is_blocking() {
            self.unseen = usize::MAX;
            return Ok(());
        }
        self.unseen = PER_LOOK;
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if bytes > self.left || now - since >= LONG {
            self.suspender.yield_now()?;
            self.left = PART;
            self.since = Some(Instant::now());
        }
        Ok(())
    }

    /// Does work on `len` things of so many bytes each, part by part: `work` gets the place of the
    /// first of a part, and how many they are.
    ///
    /// # Errors
    ///
    /// As for [`Self::spend`].
    pub(crate) fn parts(
        &mut self,
        len: usize,
        bytes: usize,
        mut work: impl FnMut(usize, usize),
    ) -> Result<(), Cancelled> {
        let most = (PER_LOOK / bytes.max(1)).max(1);
        let mut done = 0;
        while done < len {
            let now = most.min(len - done);
            self.spend(now * bytes)?;
            work(done, now);
            done += now;
        }
        Ok(())
    }
}

/// What one page may well take where it is touched for the first time.
const PAGE: Duration = Duration::from_micros(4);

/// Lets others run where operators of a guest's take long by the clock.
///
/// Such work is paid for in fuel, by its size, and slices end it like any other. But where memory is
/// touched for the first time it takes ten times as long as where it is in use, a hundred times where
/// the system has to look for the pages, and a large slice many times as long as one that a guest
/// computes in. In units it could only be one of both. What is burned does not depend on it.
///
/// Operators that follow one another add up: each begins with the time that those before it
/// [held](Self::held) the worker.
pub(crate) struct Watch<'s> {
    suspender: &'s Suspender,
    held: Duration,
    last: Instant,
}

impl<'s> Watch<'s> {
    /// From now on, for an operator before which others have held the worker for so many nanoseconds.
    pub(crate) fn new(suspender: &'s Suspender, held: u32) -> Self {
        Self { suspender, held: Duration::from_nanos(held.into()), last: Instant::now() }
    }

    /// How many pages may be touched up to the next look, so that the whole is not long even if each of
    /// them is slow.
    pub(crate) fn pages(&self) -> u64 {
        let pages = LONG.saturating_sub(self.held).as_nanos() / PAGE.as_nanos();
        (pages as u64).clamp(1, 8)
    }

    /// Begins anew: others have run.
    pub(crate) fn restart(&mut self) {
        self.last = Instant::now();
        self.held = Duration::ZERO;
    }

    /// Suspends if it has been long.
    ///
    /// # Errors
    ///
    /// As for [`Pace::spend`].
    pub(crate) fn look(&mut self) -> Result<(), Cancelled> {
        let now = Instant::now();
        self.held += now - self.last;
        self.last = now;
        if self.held >= LONG {
            self.suspender.yield_now()?;
            self.restart();
        }
        Ok(())
    }

    /// For how many nanoseconds the worker was held up to the last look.
    pub(crate) fn held(&self) -> u32 {
        self.held.as_nanos() as u32
    }
}
