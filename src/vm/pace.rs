//! Work of ours that a guest sized, cut into parts between which its fiber suspends.

use std::time::{Duration, Instant};

use lampwick_fibers::{Cancelled, Suspender};

/// What is done between two suspensions, in bytes of memory that nobody has touched before: the
/// kernel clears them page by page, which makes that the slowest work of its size. It takes some
/// 25 us; the same of memory in use takes a tenth.
const PART: usize = 32 << 10;

/// Work that is worth parts, in such bytes.
pub(crate) const LONG_WORK: usize = 2 * PART + 1;

/// Whether work that compares with so many bytes is worth parts.
pub(crate) fn is_long(bytes: usize) -> bool {
    bytes >= LONG_WORK
}

/// How a piece of work lets others run. On a stack that cannot suspend it goes on and on.
pub(crate) struct Pace<'s> {
    suspender: &'s Suspender,
    left: usize,
}

impl<'s> Pace<'s> {
    /// Of work on the suspender's fiber. Before the first part nobody has to wait.
    pub(crate) fn new(suspender: &'s Suspender) -> Self {
        Self { suspender, left: PART }
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
        if bytes > self.left {
            self.suspender.yield_now()?;
            self.left = PART;
        }
        self.left = self.left.saturating_sub(bytes);
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
        let most = (PART / bytes.max(1)).max(1);
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

/// How long a chunk after chunk of a guest's own operator may go on in one poll, whatever fuel there
/// is.
const LONG: Duration = Duration::from_micros(30);

/// What a whole chunk takes at least where it is too much at a time.
const SLOW: Duration = Duration::from_micros(8);

/// Lets others run where an operator of a guest's takes long by the clock.
///
/// Such work is paid for in fuel, by its size, and slices end it like any other. But where memory is
/// touched for the first time it takes ten times as long as where it is in use, a hundred times where
/// the system has to look for the pages, and a large slice many times as long as one that a guest
/// computes in. In units it could only be one of both. What is burned does not depend on it.
pub(crate) struct Watch<'s> {
    suspender: &'s Suspender,
    since: Instant,
    last: Instant,
    is_slow: bool,
}

impl<'s> Watch<'s> {
    /// From now on.
    pub(crate) fn new(suspender: &'s Suspender) -> Self {
        let now = Instant::now();
        Self { suspender, since: now, last: now, is_slow: false }
    }

    /// Into how many parts chunks should be cut.
    pub(crate) fn parts(&self) -> u32 {
        if self.is_slow { 8 } else { 1 }
    }

    /// Begins anew: others have run.
    pub(crate) fn restart(&mut self) {
        self.last = Instant::now();
        self.since = self.last;
    }

    /// Suspends if it has been long. Each [part](Self::parts) of a chunk is followed by a look.
    ///
    /// # Errors
    ///
    /// As for [`Pace::spend`].
    pub(crate) fn look(&mut self) -> Result<(), Cancelled> {
        let now = Instant::now();
        self.is_slow = (now - self.last) * self.parts() >= SLOW;
        self.last = now;
        if now - self.since >= LONG {
            self.suspender.yield_now()?;
            self.restart();
        }
        Ok(())
    }
}
