//! Fibers as futures.
