//! Tests of the command, from outside: a file for each topic.

mod bad_input;
mod compile;
mod inspect;
mod output;
mod support;
mod wast;
