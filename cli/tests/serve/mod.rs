//! `lampwick serve`, with real clients over real sockets.

mod answers;
mod charts;
mod client;
mod failures;
mod lifetime;
mod limits;
mod status;
