//! Tests of the command, from outside: a file for each topic.

mod bad_input;
mod compile;
mod guests;
mod inspect;
mod jobs;
mod output;
mod programs;
mod run;
mod serve;
mod support;
mod terminal;
mod tour;
mod wast;
