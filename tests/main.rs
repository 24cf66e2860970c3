//! The integration tests, a file for each topic.

mod support;

mod fuel;
