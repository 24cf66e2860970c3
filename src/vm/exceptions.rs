//! Exceptions of guests: thrown, found a handler, landed.
//!
//! A throw walks the frames of its activation from the innermost, without touching them, until a
//! call's return address has a handler for the tag; the way up may be long, so that it suspends
//! between parts, and it is charged. Then control goes to the landing block at once, and the frames
//! below it are gone: they are wasm's, and hold nothing. Where there is no handler, wasm is left
//! as by a trap, with the exception in its hands.
//!
//! A thrown exception refers to values of the host, and to other exceptions, by itself, not by
//! index: while it has no index of its own, no collection sees it, and once it has one, a
//! collection need not look inside.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use lampwick_fibers::Cancelled;

use super::activation::Unwind;
use super::arch;
use super::backtrace;
use super::builtins;
use super::externs::{Externs, Full, Garbage, Value};
use super::layout::{Clause, Reference, TrapCode, VMContext, ValRaw};
use super::objects::HeldObject;
use super::pace::Pace;
use super::store::{Store, StoreId};
use crate::types::{FuncType, ValType};

/// The most bytes that the exceptions of a store may take when a collection is over: guests make them,
/// and keep them. Before the next one they are twice as many at the most.
const MAX_BYTES: usize = 16 << 20;

/// Below so many bytes of exceptions nothing is collected for their sake.
const MIN_THRESHOLD: usize = 1 << 20;

/// How many values one unit of fuel pays for, as for elements of tables.
const VALUES_PER_FUEL: usize = 8;

/// Frames that are walked between two looks at interrupts and deadlines.
const FRAMES_PER_LOOK: u64 = 1024;

// What it takes in the units of a `Pace`.
const PER_FRAME: usize = 32;
const PER_VALUE: usize = 16;
const PER_ORPHAN: usize = 256;

/// The guests of a store hold more exceptions than they may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the exceptions of a store's guests take more than {MAX_BYTES} bytes, which is the limit")]
struct TooMany;

/// The tags and exceptions of a store.
#[derive(Default)]
pub(crate) struct Exceptions {
    /// The type of each tag; its parameters are the values of its exceptions.
    pub(crate) tags: Vec<Arc<FuncType>>,
    /// What landing blocks take their values from, before anything else happens.
    landing: Vec<ValRaw>,
    home: Arc<Home>,
    /// At how many bytes there is a collection.
    threshold: usize,
}

/// What the exceptions of a store have in common.
#[derive(Debug, Default)]
struct Home {
    /// What they take.
    bytes: AtomicUsize,
    /// Exceptions whose last owner may have been another one: they are dropped one by one, since a
    /// guest picks how many hang together.
    orphans: Mutex<Vec<Arc<Thrown>>>,
}

impl Home {
    fn pop(&self) -> Option<Arc<Thrown>> {
        self.orphans.lock().unwrap_or_else(|error| error.into_inner()).pop()
    }
}

/// An exception.
#[derive(Debug)]
pub(crate) struct Thrown {
    store: StoreId,
    /// The place of its tag in the store.
    tag: u32,
    /// Its values, but for references that a collector looks after.
    values: Box<[ValRaw]>,
    /// These, in their order; `None` for null, and for an i31, which is among the values.
    /// Structs and arrays are [held](HeldObject).
    references: Vec<Option<Value>>,
    /// Gone when the store is.
    home: Weak<Home>,
    bytes: usize,
}

impl Thrown {
    /// The store, and the place of the tag in it.
    pub(crate) fn tag(&self) -> (StoreId, u32) {
        (self.store, self.tag)
    }

    /// Calls `see` with each value, and with the reference in its place if it is one that a
    /// collector looks after; `ty` is the type of the tag.
    pub(crate) fn for_each<E>(
        &self,
        ty: &FuncType,
        mut see: impl FnMut(ValType, ValRaw, Option<&Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut references = self.references.iter();
        for (ty, &raw) in ty.params().zip(&self.values) {
            let reference =
                if ty.is_collected() { references.next().and_then(Option::as_ref) } else { None };
            see(ty, raw, reference)?;
        }
        Ok(())
    }
}

impl Drop for Thrown {
    fn drop(&mut self) {
        let mut nested = Vec::new();
        let mut values = Vec::new();
        sort(&mut self.references, &mut nested, &mut values);
        if let Some(home) = self.home.upgrade() {
            home.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            if !nested.is_empty() {
                let orphans = home.orphans.lock();
                orphans.unwrap_or_else(|error| error.into_inner()).append(&mut nested);
            }
        }
        // Without a home all go at once, but not by recursion.
        while let Some(next) = nested.pop() {
            if let Some(mut next) = Arc::into_inner(next) {
                sort(&mut next.references, &mut nested, &mut values);
            }
        }
        drop(Garbage::new(values));
    }
}

/// Takes references apart: exceptions, and values of the host.
fn sort(from: &mut Vec<Option<Value>>, nested: &mut Vec<Arc<Thrown>>, values: &mut Vec<Value>) {
    for value in std::mem::take(from).into_iter().flatten() {
        if value.is::<Thrown>() {
            nested.extend(thrown(value));
        } else {
            values.push(value);
        }
    }
}

/// The exception that a value is.
pub(crate) fn thrown(value: Value) -> Option<Arc<Thrown>> {
    let value: Arc<dyn Any + Send + Sync> = value;
    value.downcast().ok()
}

impl Exceptions {
    fn bytes(&self) -> usize {
        self.home.bytes.load(Ordering::Relaxed)
    }
}

/// Where control goes on.
#[derive(Clone, Copy)]
struct Landing {
    pc: usize,
    fp: usize,
    sp: usize,
    values: *const ValRaw,
    exception: u32,
}

/// A handler that was found.
struct Found {
    pc: usize,
    fp: usize,
    sp: usize,
    clause: Clause,
}

/// `throw`: the values are in the frame, and taken before anything else happens.
pub(super) unsafe extern "C" fn throw(context: *mut VMContext, tag: u32, values: *const ValRaw) {
    // SAFETY: machine code called with the values of the tag.
    unsafe {
        land(context, |store| {
            let tag = tag_of(store, context, tag);
            let thrown = Store::make_exception(store, tag, values)?;
            Store::raise(store, thrown)
        });
    }
}

/// `throw_ref`.
pub(super) unsafe extern "C" fn throw_ref(context: *mut VMContext, exception: u32) {
    // SAFETY: machine code called with a reference to an exception, or null.
    unsafe {
        land(context, |store| {
            let externs = (*store).externs.as_ref();
            let value = match (Reference::of(exception), externs) {
                (Reference::Extern(index), Some(externs)) => externs.get(index).cloned(),
                _ => None,
            };
            let Some(value) = value else {
                return Err(Store::trap(store, TrapCode::NullReference));
            };
            let thrown = thrown(value).expect("validated: a reference to an exception");
            Store::raise(store, thrown)
        });
    }
}

/// Runs what finds out where an exception lands, and goes there; a trap or a bug's panic unwinds wasm.
///
/// # Safety
///
/// As for [`builtins::run`](super::builtins::run).
unsafe fn land(
    context: *mut VMContext,
    body: impl FnOnce(*mut Store) -> Result<Landing, Box<Unwind>>,
) -> ! {
    // SAFETY: by contract; the landing was found among frames of the activation that called us.
    unsafe {
        let landing = builtins::run(context, |call| body(call.store));
        landing.go((*context).store.cast())
    }
}

/// The store's place of a tag that the instance of a context knows by this index.
///
/// # Safety
///
/// The context must be that of an instance of the store.
unsafe fn tag_of(store: *const Store, context: *const VMContext, tag: u32) -> u32 {
    // SAFETY: by contract.
    unsafe { (&(&(*store).instances)[(*context).instance - 1].tags)[tag as usize] }
}

/// All of these require that the store's wasm has called the builtin that is running, and that nothing of
/// the store is borrowed.
impl Store {
    /// Makes an exception of values that machine code left.
    unsafe fn make_exception(
        this: *mut Self,
        tag: u32,
        values: *const ValRaw,
    ) -> Result<Arc<Thrown>, Box<Unwind>> {
        // SAFETY: by contract; the values are those of the tag.
        unsafe {
            let exceptions = (*this).exceptions.as_ref().expect("there is a tag");
            let types = &exceptions.tags[tag as usize];
            let len = types.params().len();
            let mut values: Box<[ValRaw]> = std::slice::from_raw_parts(values, len).into();
            let mut references = Vec::new();
            for (ty, value) in types.params().zip(&mut values) {
                if ty.is_collected() {
                    let reference = (*this).hold_reference(value.to_u64() as u32);
                    if reference.is_some() {
                        *value = ValRaw::ZERO;
                    }
                    references.push(reference);
                }
            }
            let bytes = size_of::<Thrown>()
                + size_of_val(&*values)
                + references.capacity() * size_of::<Option<Value>>();
            let (store, home) = ((*this).id, Arc::downgrade(&exceptions.home));
            exceptions.home.bytes.fetch_add(bytes, Ordering::Relaxed);
            let thrown = Arc::new(Thrown { store, tag, values, references, home, bytes });
            Self::charge(this, (len / VALUES_PER_FUEL) as u64)?;
            Ok(thrown)
        }
    }

    /// Finds where an exception goes on, and prepares that.
    unsafe fn raise(this: *mut Self, thrown: Arc<Thrown>) -> Result<Landing, Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            let mut pace = Pace::new(&*(*(*this).activation).suspender);
            let (found, frames) = Self::find_handler(this, thrown.tag, &mut pace)?;
            Self::charge(this, frames)?;
            let Some(found) = found else {
                return Err(Box::new(Unwind::Exception(thrown, Self::backtrace(this))));
            };
            // The last moment at which all that guests may still use is in frames or held by us.
            Self::make_room_for(this, &thrown, &mut pace)?;
            let landing = Self::prepare(this, &found, thrown);
            landing.map_err(|full| Box::new(Unwind::Host(full.into(), Self::backtrace(this))))
        }
    }

    /// Looks for a handler of a tag, and counts the frames on the way.
    unsafe fn find_handler(
        this: *mut Self,
        tag: u32,
        pace: &mut Pace<'_>,
    ) -> Result<(Option<Found>, u64), Box<Unwind>> {
        // SAFETY: by contract: wasm has left where it was in the store, and nobody changes the
        // frames while it waits.
        unsafe {
            let (pc, fp) = ((*this).machine.exit_pc, (*this).machine.exit_fp);
            let mut passed: u64 = 0;
            for (pc, fp) in backtrace::frames(pc, fp, (*(*this).activation).entry_sp) {
                pace.spend(PER_FRAME).map_err(cancelled)?;
                // At the first, too: a guest may catch and throw again in every frame.
                if passed.is_multiple_of(FRAMES_PER_LOOK) && (*this).interrupts.is_some() {
                    Self::attend(this)?;
                }
                let found = (*this).code.handlers(pc).find_map(|(base, handler)| {
                    let sp = fp - handler.frame_size as usize;
                    let clause = handler.clause();
                    // The frame holds its context there while it is at this call.
                    let context = (sp + handler.context as usize) as *const *const VMContext;
                    let catches = |known| tag_of(this, context.read(), known) == tag;
                    let pc = base + handler.landing as usize;
                    clause.tag.is_none_or(catches).then_some(Found { pc, fp, sp, clause })
                });
                if found.is_some() {
                    return Ok((found, passed));
                }
                passed += 1;
            }
            Ok((None, passed))
        }
    }

    /// Lets a collection make room for the references of an exception and for itself, and sees to
    /// it that there are not too many.
    unsafe fn make_room_for(
        this: *mut Self,
        thrown: &Thrown,
        pace: &mut Pace<'_>,
    ) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract; each borrow ends before the pace may suspend.
        unsafe {
            let exceptions = (*this).exceptions.as_ref().expect("there is a tag");
            let is_due = exceptions.bytes() > exceptions.threshold.max(MIN_THRESHOLD);
            if is_due || (*this).is_full(thrown.references.len() + 1) {
                Self::collect_at(this, pace).map_err(cancelled)?;
            }
            pace.spend(PER_VALUE * thrown.values.len()).map_err(cancelled)?;
            let exceptions = (*this).exceptions.as_mut().expect("there is a tag");
            if is_due {
                exceptions.threshold = 2 * exceptions.bytes();
                if exceptions.bytes() > MAX_BYTES {
                    let backtrace = Self::backtrace(this);
                    return Err(Box::new(Unwind::Host(TooMany.into(), backtrace)));
                }
            }
        }
        Ok(())
    }

    /// Puts the values where the landing block takes them from. From here on nothing may collect.
    unsafe fn prepare(
        this: *mut Self,
        found: &Found,
        thrown: Arc<Thrown>,
    ) -> Result<Landing, Full> {
        // SAFETY: by contract; landing blocks that want values of the exception know its tag.
        unsafe {
            let Self { exceptions, externs, .. } = &mut *this;
            let Exceptions { tags, landing, .. } = &mut **exceptions.as_mut().expect("a tag");
            let externs = externs.get_or_insert_default();
            landing.clear();
            if found.clause.tag.is_some() {
                thrown.for_each(&tags[thrown.tag as usize], |_, raw, reference| {
                    landing.push(match reference {
                        Some(value) => ValRaw::from_u64(bits_of(externs, value)?.into()),
                        None => raw,
                    });
                    Ok(())
                })?;
            }
            let values = landing.as_ptr();
            let &Found { pc, fp, sp, clause } = found;
            let value: Value = thrown;
            let exception = if clause.by_reference { bits_of(externs, &value)? } else { 0 };
            Ok(Landing { pc, fp, sp, values, exception })
        }
    }

    /// Drops exceptions that only others have held.
    ///
    /// # Safety
    ///
    /// As for [`Self::collect_at`].
    ///
    /// # Errors
    ///
    /// [`Cancelled`] from the pace; what is left goes the next time.
    pub(super) unsafe fn drop_orphans(
        this: *mut Self,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        let home = unsafe { (*this).exceptions.as_ref().map(|exceptions| exceptions.home.clone()) };
        let Some(home) = home else { return Ok(()) };
        while let Some(orphan) = home.pop() {
            pace.spend(PER_ORPHAN + PER_VALUE * orphan.references.len())?;
            drop(orphan);
        }
        Ok(())
    }

    /// A new tag for exceptions with values as the parameters of `ty`.
    pub(crate) fn add_tag(&mut self, ty: Arc<FuncType>) -> usize {
        let tags = &mut self.exceptions.get_or_insert_default().tags;
        tags.push(ty);
        tags.len() - 1
    }
}

/// The reference to what an exception refers to, or to an exception.
fn bits_of(externs: &mut Externs, value: &Value) -> Result<u32, Full> {
    match value.downcast_ref::<HeldObject>() {
        Some(object) => Ok(object.bits()),
        None => externs.index(value).map(|index| Reference::Extern(index).bits()),
    }
}

fn cancelled(_: Cancelled) -> Box<Unwind> {
    Box::new(Unwind::Cancelled)
}

impl Landing {
    /// Leaves everything below the frame that catches.
    ///
    /// # Safety
    ///
    /// This must be the landing of an exception that wasm of the store's innermost activation has
    /// thrown, and no frame below may hold anything that is to be dropped.
    unsafe fn go(self, store: *mut Store) -> ! {
        // SAFETY: by contract.
        unsafe {
            Store::note_exit(store);
            let Self { pc, fp, sp, values, exception } = self;
            arch::land(pc, fp, sp, (values as usize, exception as usize), (*store).machine.fuel)
        }
    }
}
