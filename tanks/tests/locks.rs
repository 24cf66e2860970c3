//! Wakers are foreign code, which may use the tank.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use lampwick_tanks::{FuelTank, Tap};

/// Asks for the tank's level whenever it is woken, and notes by whom.
struct Nosy {
    tank: FuelTank,
    thread: std::thread::ThreadId,
    from_here: AtomicUsize,
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        let _level = self.tank.level();
        let here = std::thread::current().id() == self.thread;
        self.from_here.fetch_add(usize::from(here), Ordering::SeqCst);
    }
}

/// Whoever is woken may use the tank, also where somebody who draws in vain finds out that another one
/// can be served.
#[test]
fn nobody_is_woken_under_the_lock() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // A hundredth of a second's worth is dealt at a time.
        let tank = FuelTank::with_rate(100_000, 100_000);
        let (mut waits, mut looks) = (Tap::new(&tank), Tap::new(&tank));
        let thread = std::thread::current().id();
        let nosy = Arc::new(Nosy { tank: tank.clone(), thread, from_here: AtomicUsize::new(0) });
        let waker = Waker::from(nosy.clone());
        let end = Instant::now() + Duration::from_secs(20);
        while nosy.from_here.load(Ordering::SeqCst) < 3 && Instant::now() < end {
            let _ = waits.poll_draw(&mut Context::from_waker(&waker), 1_000_000);
            let _ = looks.try_draw(1_000_000);
            looks.give_back(0);
        }
        done.send(nosy.from_here.load(Ordering::SeqCst)).unwrap();
    });
    let from_here = ended.recv_timeout(Duration::from_secs(40)).expect("nobody is stuck");
    assert!(from_here >= 3, "{from_here}");
}
