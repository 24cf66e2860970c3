//! What is measured, a file for each question.

pub mod calls;
pub mod compile;
pub mod crowd;
pub mod exceptions;
pub mod guests;
pub mod instances;
pub mod objects;
pub mod yields;
