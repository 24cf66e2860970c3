//! The slots of a pooling engine that a store's instances are in.

use anyhow::Result;

use super::StoreInner;
use crate::pooling::InstanceSlot;

impl<T> StoreInner<T> {
    /// A slot for one more instance, where the engine has a pool.
    ///
    /// # Errors
    ///
    /// Fails with [`PoolExhausted`](crate::PoolExhausted) if none is free.
    pub(crate) fn take_slot(&mut self) -> Result<Option<InstanceSlot>> {
        let Some(pool) = self.engine.pool() else { return Ok(None) };
        Ok(Some(pool.slots.take(self.slots.len())?))
    }

    /// Whether one waits where no slot is free.
    pub(crate) fn pool_waits(&self) -> bool {
        self.engine.pool().is_some_and(|pool| pool.waits)
    }

    /// As [`take_slot`](Self::take_slot), but waits for a slot, where the engine is told to.
    pub(crate) async fn wait_for_slot(&mut self) -> Result<Option<InstanceSlot>> {
        match self.engine.pool() {
            Some(pool) if pool.waits => Ok(Some(pool.slots.wait(self.slots.len()).await?)),
            _ => self.take_slot(),
        }
    }
}
