//! The functions of preview 1, each through a guest; what hostile guests try; programs that others
//! wrote.

mod files;
mod support;
