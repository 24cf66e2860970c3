//! The wake after a yield.
//!
//! A task that wakes itself while it is polled goes to a queue that its worker empties before it
//! looks at timers and sockets, so that a few such tasks starve all others. Tokio keeps a list for
//! tasks that yield, and wakes them only after it has looked. Its `yield_now` puts the polling task
//! on that list when it is first polled, and wakes by reference when no tokio runtime polls us.

use std::task::Context;

/// Has the task woken again, after everything that is ready now.
#[cfg(feature = "tokio")]
#[inline]
pub(crate) fn wake_fairly(context: &mut Context<'_>) {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Poll;

    // The future may go at once: the list holds the waker, not the future.
    if let Poll::Ready(()) = pin!(tokio::task::yield_now()).poll(context) {
        context.waker().wake_by_ref();
    }
}

/// Has the task woken again, after everything that is ready now.
#[cfg(not(feature = "tokio"))]
#[inline]
pub(crate) fn wake_fairly(context: &mut Context<'_>) {
    context.waker().wake_by_ref();
}
