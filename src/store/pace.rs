//! Work of the host's on a store that a guest sized.

use std::pin::Pin;

use anyhow::Result;

use super::StoreInner;
use crate::vm::pace::Pace;

impl<T> StoreInner<T> {
    /// Does work on the store on a fiber, where it suspends between its parts.
    ///
    /// If the future is dropped meanwhile the work is told so by its pace, and must come to an end.
    /// Work is seldom so long: whoever awaits this keeps it in a box, for which a future needs no
    /// room unless there is one.
    pub(crate) fn paced<'s, R: Send + 's>(
        &'s mut self,
        work: impl FnOnce(&mut Self, &mut Pace<'_>) -> Result<R> + Send + 's,
    ) -> Pin<Box<dyn Future<Output = Result<R>> + Send + 's>>
    where
        T: Send,
    {
        Box::pin(async {
            let mut fiber = self.take_fiber()?;
            // SAFETY: what the fiber holds while it is suspended is the work, which is `Send`, and
            // what that borrows of the store and of a module.
            let result =
                unsafe { fiber.run_send(|suspender| work(self, &mut Pace::new(suspender))) };
            let result = result.await;
            self.fiber = Some(fiber);
            result
        })
    }
}
