//! Exceptions that are under way: thrown, found a handler, landed.
//!
//! A throw walks the frames of its activation from the innermost, without touching them, until a
//! call's return address has a handler for the tag; the way up may be long, so that it suspends
//! between parts, and it is charged. Then control goes to the landing block at once, and the frames
//! below it are gone: they are wasm's, and hold nothing but registers of their callers, which the
//! walk has collected. Where there is no handler, wasm is left as by a trap, with the exception in
//! its hands.

use std::sync::Arc;

use lampwick_fibers::Cancelled;

use super::super::activation::Unwind;
use super::super::arch::Preserved;
use super::super::layout::{Clause, ContextAt, Reference, TrapCode, VMContext, ValRaw};
use super::super::pace::Pace;
use super::super::store::Store;
use super::super::{arch, backtrace, builtins};
use super::{Exceptions, MAX_BYTES, Thrown, TooMany};

/// How many values one unit of fuel pays for, as for elements of tables.
const VALUES_PER_FUEL: usize = 8;

/// What a throw takes whatever its way, some thousand operators' time.
const NANOSECONDS: u32 = 200;

/// Frames that are walked between two looks at interrupts and deadlines: as many as a `Pace` passes
/// between two of its own, so that whoever let others run looks at once.
const FRAMES_PER_LOOK: u64 = 128;

// What it takes in the units of a `Pace`.
const PER_FRAME: usize = 32;
const PER_VALUE: usize = 16;

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

arch::with_preserved_registers! {
    throw: throw_values in "rcx";
    throw_ref: throw_again in "rdx";
}

/// `throw`: the values are in the frame, and taken before anything else happens.
unsafe extern "C" fn throw_values(
    context: *mut VMContext,
    tag: u32,
    values: *const ValRaw,
    preserved: *mut Preserved,
) -> ! {
    // SAFETY: machine code called with the values of the tag.
    unsafe {
        land(context, preserved, |store| {
            let tag = tag_of(store, context, tag);
            let thrown = Store::make_exception(store, tag, values)?;
            Store::raise(store, thrown, preserved)
        })
    }
}

/// `throw_ref`.
unsafe extern "C" fn throw_again(
    context: *mut VMContext,
    exception: u32,
    preserved: *mut Preserved,
) -> ! {
    // SAFETY: machine code called with a reference to an exception, or null.
    unsafe {
        land(context, preserved, |store| {
            let Reference::Exception(entry) = Reference::of(exception) else {
                return Err(Store::trap(store, TrapCode::NullReference));
            };
            let thrown = (*store).exceptions.as_ref().expect("there is an exception").get(entry);
            Store::raise(store, thrown, preserved)
        })
    }
}

/// Runs what finds out where an exception lands, and goes there; a trap or a bug's panic unwinds wasm.
///
/// # Safety
///
/// As for [`builtins::run`]; `preserved` is what `body` makes those of the frame that it lands in.
unsafe fn land(
    context: *mut VMContext,
    preserved: *const Preserved,
    body: impl FnOnce(*mut Store) -> Result<Landing, Box<Unwind>>,
) -> ! {
    // SAFETY: by contract; the landing was found among frames of the activation that called us.
    unsafe {
        let landing = builtins::run(context, |call| body(call.store));
        landing.go((*context).store.cast(), &*preserved)
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
            let exceptions = Self::exceptions(this);
            let len = (&(*exceptions).tags)[tag as usize].params().len();
            let values = std::slice::from_raw_parts(values, len).into();
            let thrown = (*exceptions).add((*this).id, tag, values);
            if let Err(unwind) = Self::charge(this, (len / VALUES_PER_FUEL) as u64) {
                (*exceptions).let_go(thrown);
                return Err(unwind);
            }
            Ok(thrown)
        }
    }

    /// Finds where an exception goes on, and prepares that. The `preserved` registers of who has called
    /// the builtin become those of the frame where that is.
    unsafe fn raise(
        this: *mut Self,
        thrown: Arc<Thrown>,
        preserved: *mut Preserved,
    ) -> Result<Landing, Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            let landing = Self::prepare_landing(this, &thrown, preserved);
            if let Ok(None) = landing {
                return Err(Box::new(Unwind::Exception(thrown, Self::backtrace(this))));
            }
            (*Self::exceptions(this)).let_go(thrown);
            landing.map(|landing| landing.expect("there is one"))
        }
    }

    /// The same, if it goes on anywhere.
    unsafe fn prepare_landing(
        this: *mut Self,
        thrown: &Thrown,
        preserved: *mut Preserved,
    ) -> Result<Option<Landing>, Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            Self::took(this, NANOSECONDS)?;
            let mut pace = Pace::new(&*(*(*this).activation).suspender);
            let (found, frames) = Self::find_handler(this, thrown.tag, preserved, &mut pace)?;
            Self::charge(this, frames)?;
            let Some(found) = found else { return Ok(None) };
            // The last moment at which all that guests may still use is in frames or held by us.
            Self::make_room_for(this, thrown, &mut pace)?;
            Ok(Some((*Self::exceptions(this)).prepare(found, thrown)))
        }
    }

    /// What wasm that throws has.
    unsafe fn exceptions(this: *mut Self) -> *mut Exceptions {
        // SAFETY: by contract.
        unsafe { &raw mut **(*this).exceptions.as_mut().expect("there is a tag") }
    }

    /// Looks for a handler of a tag, and counts the frames on the way.
    unsafe fn find_handler(
        this: *mut Self,
        tag: u32,
        preserved: *mut Preserved,
        pace: &mut Pace<'_>,
    ) -> Result<(Option<Found>, u64), Box<Unwind>> {
        // SAFETY: by contract: wasm has left where it was in the store, and nobody changes the
        // frames while it waits; nor the registers, which are in the builtin's.
        unsafe {
            let (pc, fp) = ((*this).machine.exit_pc, (*this).machine.exit_fp);
            let mut passed: u64 = 0;
            for (pc, fp) in backtrace::frames(pc, fp, (*(*this).activation).entry_sp) {
                pace.spend(PER_FRAME).map_err(cancelled)?;
                // At the first, too: a guest may catch and throw again in every frame.
                if passed.is_multiple_of(FRAMES_PER_LOOK) && (*this).interrupts.is_some() {
                    Self::attend(this)?;
                }
                let (base, sites) = (*this).code.sites(pc);
                let return_address = (pc - base) as u32;
                let found = sites.handlers().of(return_address).find_map(|handler| {
                    let sp = fp - handler.frame_size as usize;
                    let clause = handler.clause();
                    let context: *const VMContext = match handler.context() {
                        ContextAt::Stack(offset) => *((sp + offset as usize) as *const _),
                        ContextAt::Register(index) => (*preserved).at(index) as *const _,
                    };
                    let catches = |known| tag_of(this, context, known) == tag;
                    let pc = base + handler.landing as usize;
                    clause.tag.is_none_or(catches).then_some(Found { pc, fp, sp, clause })
                });
                if found.is_some() {
                    return Ok((found, passed));
                }
                (*preserved).take_back(sites.saves().of(return_address), fp);
                passed += 1;
            }
            Ok((None, passed))
        }
    }

    /// Sees to it that there are not too many exceptions before a guest gets one more.
    unsafe fn make_room_for(
        this: *mut Self,
        thrown: &Thrown,
        pace: &mut Pace<'_>,
    ) -> Result<(), Box<Unwind>> {
        // SAFETY: by contract; each borrow ends before the pace may suspend.
        unsafe {
            pace.spend(PER_VALUE * thrown.values.len()).map_err(cancelled)?;
            if (*Self::exceptions(this)).is_due() {
                // The exception itself is held by us.
                Self::collect_at(this, pace).map_err(cancelled)?;
                if (*Self::exceptions(this)).bytes > MAX_BYTES {
                    let backtrace = Self::backtrace(this);
                    return Err(Box::new(Unwind::Host(TooMany.into(), backtrace)));
                }
            }
        }
        Ok(())
    }
}

impl Exceptions {
    /// Puts the values where the landing block takes them from. From here on nothing may collect.
    fn prepare(&mut self, found: Found, thrown: &Thrown) -> Landing {
        let Found { pc, fp, sp, clause } = found;
        self.landing.clear();
        if clause.tag.is_some() {
            self.landing.extend_from_slice(&thrown.values);
        }
        let exception = if clause.by_reference { thrown.reference().bits() } else { 0 };
        Landing { pc, fp, sp, values: self.landing.as_ptr(), exception }
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
    /// thrown, with the registers of the frame there, and no frame below may hold anything that is to
    /// be dropped.
    unsafe fn go(self, store: *mut Store, preserved: &Preserved) -> ! {
        // SAFETY: by contract.
        unsafe {
            Store::note_exit(store);
            let Self { pc, fp, sp, values, exception } = self;
            let mut preserved = *preserved;
            if (*store).metered {
                preserved.pin((*store).machine.fuel);
            }
            arch::land(pc, fp, sp, (values as usize, exception as usize), &preserved)
        }
    }
}
