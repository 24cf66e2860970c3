//! Work of the host's on a store that a guest sized.

use anyhow::Result;

use super::StoreInner;
use crate::vm::pace::Pace;
use crate::vm::store::Store;

impl<T> StoreInner<T> {
    /// Lets a collection make room before so many values become references.
    pub(crate) async fn make_room(&mut self, more: usize) -> Result<()>
    where
        T: Send,
    {
        if !self.vm.is_full(more) {
            return Ok(());
        }
        self.paced(true, |store, pace| {
            // SAFETY: the store is ours for as long as this future exists.
            Ok(unsafe { Store::collect_at(&raw mut store.vm, pace) }?)
        })
        .await
    }

    /// Does work on the store, on a fiber if it is `long`, where it suspends between its parts.
    ///
    /// If the future is dropped meanwhile the work is told so by its pace, and must come to an end.
    pub(crate) async fn paced<R: Send>(
        &mut self,
        long: bool,
        work: impl FnOnce(&mut Self, &mut Pace<'_>) -> Result<R> + Send,
    ) -> Result<R>
    where
        T: Send,
    {
        if !long {
            return work(self, &mut Pace::straight());
        }
        // Boxed, as what is rare.
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
        .await
    }
}
