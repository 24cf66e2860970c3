//! What the topics share: engines, instances, a poller by hand, random numbers, counted values.

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use lampwick::unix::StoreExt;
use lampwick::{Config, Engine, Instance, Module, Store, Trap};
use tempfile::TempDir;

/// A change of a configuration.
pub(crate) type Change = fn(&mut Config);

/// An engine whose configuration differs from the default in what `change` does.
pub(crate) fn engine(change: impl FnOnce(&mut Config)) -> Engine {
    let mut config = Config::new();
    change(&mut config);
    Engine::new(&config).unwrap()
}

/// A synchronous engine that counts fuel.
pub(crate) fn metered() -> Engine {
    engine(|config| {
        config.consume_fuel(true);
    })
}

/// An async engine that does not count fuel.
pub(crate) fn asynchronous() -> Engine {
    engine(|config| {
        config.async_support(true);
    })
}

/// An async engine that counts fuel.
pub(crate) fn async_metered() -> Engine {
    engine(|config| {
        config.async_support(true).consume_fuel(true);
    })
}

/// A store of a synchronous engine, and the instance in it of a module without imports.
pub(crate) fn instantiate(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let module = Module::new(engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

/// The same for an async engine.
pub(crate) fn instantiate_async(engine: &Engine, wat: &str) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let module = Module::new(engine, wat).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    (store, instance)
}

/// The trap that an error is.
pub(crate) fn trap(error: anyhow::Error) -> Trap {
    error.downcast().expect("the error is a trap")
}

/// Where the guests of a store met a fault last: the address of the machine instruction.
pub(crate) fn note_faults<T>(store: &mut Store<T>) -> Arc<AtomicU64> {
    let pc = Arc::new(AtomicU64::new(0));
    let note = pc.clone();
    // SAFETY: the handler reads the context that it got, and writes an atomic number.
    unsafe {
        store.set_signal_handler(move |_, _, context| {
            let context = context.cast::<libc::ucontext_t>();
            let pc = (*context).uc_mcontext.gregs[libc::REG_RIP as usize];
            note.store(pc as u64, Ordering::Relaxed);
            false
        });
    }
    pc
}

/// A directory that is deleted in the end, where files may be executed, and its path without links.
pub(crate) fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().canonicalize().unwrap();
    (directory, path)
}

/// Polls once with a waker that does nothing.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future that nobody has to wake until it is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    count_pending(future).1
}

/// How often the future was pending, and its output.
pub(crate) fn count_pending<F: Future>(future: F) -> (u64, F::Output) {
    let mut future = pin!(future);
    let mut pending = 0;
    loop {
        match poll(future.as_mut()) {
            Poll::Ready(output) => return (pending, output),
            Poll::Pending => pending += 1,
        }
    }
}

/// A future that is pending this many times; it wakes its task each time.
pub(crate) async fn pend(mut times: u32) {
    std::future::poll_fn(move |context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The message of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .expect("the payload of `panic!`")
}

/// The message with which `run` panics.
pub(crate) fn panic_of<R>(run: impl FnOnce() -> R) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(_) => panic!("a panic was expected"),
        Err(payload) => panic_text(&*payload),
    }
}

/// Counts how many of its tokens are alive, and how many ever were.
#[derive(Clone, Default)]
pub(crate) struct Census {
    made: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

/// A value that its [`Census`] counts.
pub(crate) struct Token(Census);

impl Census {
    pub(crate) fn token(&self) -> Token {
        self.made.fetch_add(1, Ordering::SeqCst);
        Token(self.clone())
    }

    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> usize {
        self.made() - self.dropped.load(Ordering::SeqCst)
    }
}

impl Token {
    /// Whether its census counts it among the living.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.alive() > 0
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
        assert!(self.0.dropped.load(Ordering::SeqCst) <= self.0.made(), "dropped twice");
    }
}

/// Random numbers that can be had again: SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    /// From `LAMPWICK_SEED`, or the clock. The seed is printed, which a failed test shows.
    pub(crate) fn new(test: &str) -> Self {
        let seed = match std::env::var("LAMPWICK_SEED") {
            Ok(seed) => seed.parse().expect("LAMPWICK_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        };
        println!("{test}: LAMPWICK_SEED={seed}");
        Self(seed)
    }

    /// From a number of another one.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// How many rounds a random test makes: this many, or `LAMPWICK_ROUNDS`.
pub(crate) fn rounds(default: usize) -> usize {
    match std::env::var("LAMPWICK_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("LAMPWICK_ROUNDS is a number"),
        Err(_) => default,
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Alarm(AtomicUsize);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Alarm {
    /// Polls once; the future's waker is this.
    pub(crate) fn poll<F: Future + ?Sized>(
        self: &Arc<Self>,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(self.clone())))
    }

    /// How often it was woken.
    pub(crate) fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Polls until the future waits for somebody else to wake it; answers how often.
    pub(crate) fn run<F: Future + ?Sized>(self: &Arc<Self>, mut future: Pin<&mut F>) -> usize {
        for polls in 1.. {
            let before = self.rings();
            assert!(self.poll(future.as_mut()).is_pending(), "it runs forever");
            if self.rings() == before {
                return polls;
            }
        }
        unreachable!()
    }
}
