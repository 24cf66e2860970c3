//! Sorts numbers by orders that are chosen at run time: indirect calls, and slices of `core`.
#![no_std]
#![no_main]

use core::cmp::Ordering;

const MOST: usize = 1 << 18;

static mut NUMBERS: [u32; MOST] = [0; MOST];

type Order = fn(&u32, &u32) -> Ordering;

/// The orders. Equal keys go by the number itself, so that each order has one outcome.
static ORDERS: [Order; 4] = [
    |a, b| a.cmp(b),
    |a, b| b.cmp(a),
    |a, b| a.count_ones().cmp(&b.count_ones()).then(a.cmp(b)),
    |a, b| a.reverse_bits().cmp(&b.reverse_bits()),
];

/// Fills `n` numbers from xorshift32 with seed 1, sorts them by each order in turn, and answers
/// FNV-1a with 64 bits over all outcomes, a number at a time. -1 where `n` is above 2^18.
#[export_name = "run"]
pub extern "C" fn run(n: u32) -> i64 {
    // SAFETY: the guest has one thread, and `run` does not call itself.
    let all: &mut [u32; MOST] = unsafe { &mut *core::ptr::addr_of_mut!(NUMBERS) };
    let numbers = match all.get_mut(..n as usize) {
        Some(numbers) => numbers,
        None => return -1,
    };
    let mut random = 1u32;
    for number in numbers.iter_mut() {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        *number = random;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for order in &ORDERS {
        // SAFETY: a reference to a static. The volatile read keeps the call indirect.
        let order = unsafe { core::ptr::read_volatile(order) };
        numbers.sort_unstable_by(order);
        for number in numbers.iter() {
            hash = (hash ^ u64::from(*number)).wrapping_mul(0x100_0000_01b3);
        }
    }
    hash as i64
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
