//! What differs between processors: entering wasm, leaving it by a trap, and a signal's registers.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) use x86_64::{
    Preserved, Registers, attending, enter, land, load_fuel, refuelling, to_wasm, unwind, vectors,
    with_preserved_registers,
};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("lampwick runs guests on x86-64 Linux only");
