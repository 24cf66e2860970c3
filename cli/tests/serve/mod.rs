//! `lampwick serve`, with real clients over real sockets.

mod answers;
mod bodies;
mod charts;
mod client;
mod failures;
mod hand_on;
mod hour;
mod lifetime;
mod limits;
mod rude;
mod status;
