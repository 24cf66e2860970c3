//! The functions of preview 1, each through a guest; what hostile guests try; programs that others
//! wrote.

mod dirs;
mod escapes;
mod every;
mod files;
mod hostile;
mod permissions;
mod poll;
mod process;
mod processors;
mod programs;
mod races;
mod socket_kinds;
mod sockets;
mod stack;
mod support;
