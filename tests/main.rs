//! The integration tests, a file for each topic.
