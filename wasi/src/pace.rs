//! Calls that are answered at once, and yet end a poll when there were many.
//!
//! A guest's fuel pays for its own operators. What the host does for it within a poll is bounded by
//! tokio's budget for a task, of which each call takes its share.

use tokio::task::coop::consume_budget;

/// Bytes that are made or copied for one share of the budget.
const SHARE: usize = 4096;

/// To be awaited once in each call.
pub(crate) async fn call() {
    consume_budget().await;
}

/// To be awaited after each part of a call's work, with the bytes that were made or copied.
pub(crate) async fn bytes(len: usize) {
    for _ in 0..len / SHARE {
        consume_budget().await;
    }
}
