//! Accounts, and who reads them.

use std::fmt;
use std::sync::Arc;

use super::Config;
use crate::store::CallReport;

/// What is counted, and who hears of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountSettings {
    pub(crate) is_kept: bool,
    pub(crate) reader: Option<Reader>,
}

/// The embedder's reader of reports.
#[derive(Clone)]
pub(crate) struct Reader(Arc<dyn Fn(&CallReport<'_>) + Send + Sync>);

impl Reader {
    pub(crate) fn read(&self, report: &CallReport<'_>) {
        (self.0)(report);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Config {
    /// Whether guests' host calls, polls, and time on their workers are counted, for
    /// [`Store::stats`](crate::Store::stats), and guests for
    /// [`Engine::stats`](crate::Engine::stats). With the feature `tracing` each call then has a span.
    /// Off by default.
    ///
    /// It costs some 10 ns for each poll, most of it for two looks at the clock, and about a
    /// nanosecond for each host call: less than 2 % where polls take a microsecond, as those of guests
    /// with slices of 10,000 units of fuel do; a call that does next to nothing takes 1.7 times as long
    /// (`cargo bench --bench accounts`). The first such engine of a process takes a millisecond longer
    /// to make, in which the clock is set.
    ///
    /// Spans have the target `lampwick`, the name `call`, and the level `INFO`; each is entered while
    /// its guest is polled, and left while it is suspended. Their fields are `guest` (see
    /// [`Store::set_name`](crate::Store::set_name)) and, once the call is over, `fuel`, the units that it burned, and
    /// `end`, a [`CallEnd`](crate::CallEnd). In them are events: `the guest trapped` (`INFO`), and
    /// `the guest is parked` (`DEBUG`) where it begins to wait for fuel or for the end of a pause;
    /// both with `guest` and with `fuel`, the units that the store has burned.
    pub fn accounts(&mut self, enable: bool) -> &mut Self {
        self.accounts.is_kept = enable;
        self
    }

    /// Lets `reader` have an account of each call of a guest when the call is over, however it ended;
    /// and keeps [accounts](Self::accounts). There is one reader: it replaces an earlier one.
    ///
    /// A call that a host function makes is part of the call that it serves. Start functions are
    /// calls, too. There is no report of a call whose future was forgotten (`mem::forget`).
    ///
    /// The reader runs on the thread that polled or dropped the call, in its time. A panic of it goes
    /// on where the call is awaited or dropped, in place of the call's result; on a thread that
    /// unwinds already it is swallowed.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::Arc;
    ///
    /// use lampwick::{CallEnd, Config, Engine, Func, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let returned = Arc::new(AtomicU64::new(0));
    /// let count = returned.clone();
    /// let engine = Engine::new(Config::new().call_reports(move |report| {
    ///     if report.guest == "tenant 7" && report.end == CallEnd::Returned {
    ///         count.fetch_add(report.stats.host_calls, Ordering::Relaxed);
    ///     }
    /// }))?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_name("tenant 7");
    /// Func::wrap(&mut store, || {}).call(&mut store, &[])?;
    /// assert_eq!(returned.load(Ordering::Relaxed), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_reports(
        &mut self,
        reader: impl Fn(&CallReport<'_>) + Send + Sync + 'static,
    ) -> &mut Self {
        self.accounts = AccountSettings { is_kept: true, reader: Some(Reader(Arc::new(reader))) };
        self
    }
}
