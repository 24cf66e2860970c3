//! Walking the frames of wasm by their frame pointers.

/// The most frames that a backtrace keeps; the innermost ones are kept.
///
/// A guest picks how deep it recurses, and must not pick with it how much the host allocates.
const MAX_FRAMES: usize = 64;

/// A frame of wasm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// An address in machine code.
    pub(crate) pc: usize,
    /// Whether `pc` is the instruction that trapped, and not the one behind a call.
    pub(crate) exact: bool,
}

impl Frame {
    /// The frame whose instruction at `pc` trapped.
    pub(crate) fn exact(pc: usize) -> Self {
        Self { pc, exact: true }
    }

    /// The frame that a call returns to at `pc`.
    pub(crate) fn call(pc: usize) -> Self {
        Self { pc, exact: false }
    }
}

/// Frames of wasm, the innermost first.
pub(crate) type Backtrace = Vec<Frame>;

/// The frames of wasm from the one that a call returns to at `pc`, whose frame pointer is `fp`, up
/// to the entry of wasm at stack pointer `entry_sp`: return address and frame pointer of each.
///
/// # Safety
///
/// `fp` must head a chain of frame pointers that leads to the frame of the enter trampoline, whose
/// return address lies directly below `entry_sp`; the chain must last as long as the iterator.
pub(super) unsafe fn frames(
    pc: usize,
    fp: usize,
    entry_sp: usize,
) -> impl Iterator<Item = (usize, usize)> {
    const WORD: usize = size_of::<usize>();
    let trampoline_fp = entry_sp - 2 * WORD;
    let caller = move |&(_, fp): &(usize, usize)| {
        // SAFETY: `fp` lies in the chain, so that it holds the caller's frame pointer and above it
        // the return address.
        let (caller_fp, return_address) =
            unsafe { (*(fp as *const usize), *((fp + WORD) as *const usize)) };
        debug_assert!(caller_fp > fp, "the chain of frame pointers leads up");
        (caller_fp < trampoline_fp).then_some((return_address, caller_fp))
    };
    std::iter::successors((fp < trampoline_fp).then_some((pc, fp)), caller)
}

/// Collects frames from `first`, whose frame pointer is `fp`, up to the entry of wasm at stack
/// pointer `entry_sp`.
///
/// # Safety
///
/// As for [`frames`].
pub(super) unsafe fn walk(first: Frame, fp: usize, entry_sp: usize) -> Backtrace {
    // SAFETY: by contract.
    let frames = unsafe { frames(first.pc, fp, entry_sp) }.take(MAX_FRAMES);
    let mut backtrace: Backtrace = frames.map(|(pc, _)| Frame::call(pc)).collect();
    if let Some(innermost) = backtrace.first_mut() {
        *innermost = first;
    }
    backtrace
}
