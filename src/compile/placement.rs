//! Where functions start in a text, so that their short loops run fast.
//!
//! Processors fetch instructions, and keep decoded ones, by lines of 64 bytes. A short loop that
//! lies across one line more than it needs can take a quarter longer. The code generator does not
//! align loops, and we cannot put bytes between its instructions; but the whole function can start
//! anywhere, and most functions that spend their time in short loops have few of them.

use std::cmp::Reverse;
use std::ops::Range;

/// What processors fetch at once, in bytes.
const LINE: u32 = 64;

/// Functions without short loops start at multiples of this many bytes.
const ALIGNMENT: u32 = 32;

/// How far the places are apart that are compared, in bytes.
const STEP: u32 = 4;

/// How often a loop runs for each time that the loop around it does, as a power of two.
const ITERATIONS_LOG2: u32 = 3;

/// The deepest nest that is told from less deep ones.
const MAX_DEPTH: usize = 7;

/// Where a function may start: `offset` bytes behind a multiple of `alignment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    alignment: u32,
    offset: u32,
}

impl Default for Placement {
    fn default() -> Self {
        Self { alignment: ALIGNMENT, offset: 0 }
    }
}

impl Placement {
    /// The best place for machine code, whose constants need to be aligned to `alignment` bytes, a
    /// power of two. `calls` are its return addresses, in order.
    pub(super) fn of(code: &[u8], calls: &[(u32, u32)], alignment: u32) -> Self {
        let loops = nested(short_loops(code, calls));
        if loops.is_empty() {
            return Self { alignment: ALIGNMENT.max(alignment), offset: 0 };
        }
        // The first one of the best.
        let offsets = (0..LINE).step_by(STEP.max(alignment) as usize);
        let offset = offsets.min_by_key(|&offset| lines(&loops, offset)).unwrap_or(0);
        Self { alignment: LINE.max(alignment), offset }
    }

    /// The first such place at `end` of a text or behind.
    pub(super) fn after(self, end: usize) -> usize {
        let (alignment, offset) = (self.alignment as usize, self.offset as usize);
        end.saturating_sub(offset).next_multiple_of(alignment) + offset
    }
}

/// How many lines loops take in all their rounds, if their function starts at `offset` of a line.
/// Each comes with its depth.
fn lines(loops: &[(Range<u32>, u32)], offset: u32) -> u64 {
    let rounds = loops.iter().map(|(range, depth)| {
        let (first, last) = ((range.start + offset) / LINE, (range.end - 1 + offset) / LINE);
        u64::from(last - first + 1) << (ITERATIONS_LOG2 * depth)
    });
    rounds.sum()
}

/// The loops of at most 256 bytes in which nothing is called, the outer before the inner; those
/// with one head are one.
///
/// They are told by jumps back of which three bytes are ones. Bytes that only look like such a jump
/// do no harm: they may move a function by less than a line.
fn short_loops(code: &[u8], calls: &[(u32, u32)]) -> Vec<Range<u32>> {
    let mut loops = Vec::new();
    for (end, bytes) in (6..).zip(code.windows(6)) {
        let [prefix, operator, low, 0xff, 0xff, 0xff] = *bytes else { continue };
        let jumps = operator == 0xe9 || prefix == 0x0f && operator & 0xf0 == 0x80;
        let Some(start) =
            (jumps.then_some(end)).and_then(|end: u32| end.checked_sub(256 - u32::from(low)))
        else {
            continue;
        };
        let before = calls.partition_point(|&(pc, _)| pc <= start);
        if calls.get(before).is_none_or(|&(pc, _)| pc > end) {
            loops.push(start..end);
        }
    }
    loops.sort_unstable_by_key(|range| (range.start, Reverse(range.end)));
    loops.dedup_by_key(|range| range.start);
    loops
}

/// The loops with how many others each begins in.
fn nested(loops: Vec<Range<u32>>) -> Vec<(Range<u32>, u32)> {
    let mut around: Vec<u32> = Vec::new();
    let place = |range: Range<u32>| {
        around.retain(|&end| end > range.start);
        let depth = around.len();
        around.push(range.end);
        (range, depth.min(MAX_DEPTH) as u32)
    };
    loops.into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Compiler, Settings};

    /// Code of `len` bytes with jumps back, each with its end and its distance.
    fn code(len: usize, jumps: &[(usize, u8)]) -> Vec<u8> {
        let mut code = vec![0x90; len];
        for &(end, distance) in jumps {
            let low = 0u8.wrapping_sub(distance);
            code[end - 6..end].copy_from_slice(&[0x0f, 0x85, low, 0xff, 0xff, 0xff]);
        }
        code
    }

    #[test]
    fn a_short_loop_lies_in_one_line() {
        for end in 64..192 {
            let placement = Placement::of(&code(200, &[(end, 48)]), &[], 4);
            let start = placement.after(1000);
            assert!(start >= 1000 && start < 1000 + 2 * LINE as usize, "{placement:?}");
            let (first, last) = (start + end - 48, start + end - 1);
            assert_eq!(first / 64, last / 64, "the loop ends at {end}: {placement:?}");
        }
    }

    #[test]
    fn the_innermost_loop_counts_most() {
        // All three around it would fit two lines from 0 on, but it lies across 64 then.
        let jumps = [(80, 40), (118, 100), (121, 110), (124, 120)];
        let placement = Placement::of(&code(130, &jumps), &[], 4);
        let start = placement.after(0);
        assert_eq!((start + 40) / 64, (start + 79) / 64, "{placement:?}");
    }

    #[test]
    fn constants_stay_aligned() {
        for alignment in [16, 64, 256] {
            let placement = Placement::of(&code(200, &[(90, 48)]), &[], alignment);
            assert_eq!(placement.after(777) % alignment as usize, 0, "{placement:?}");
            let placement = Placement::of(&code(200, &[]), &[], alignment);
            assert_eq!(placement.after(777) % alignment as usize, 0, "{placement:?}");
        }
    }

    #[test]
    fn only_short_loops_without_calls_count() {
        assert_eq!(Placement::of(&code(200, &[]), &[], 4), Placement::default());
        assert_ne!(Placement::of(&code(200, &[(90, 48)]), &[], 4), Placement::default());
        let calls = [(20, 0), (70, 0)];
        assert_eq!(Placement::of(&code(200, &[(90, 48)]), &calls, 4), Placement::default());
        // In front of the loop and behind it.
        let calls = [(42, 0), (91, 0)];
        assert_ne!(Placement::of(&code(200, &[(90, 48)]), &calls, 4), Placement::default());
        // A jump to a place in front of the code is none.
        assert_eq!(Placement::of(&code(200, &[(40, 48)]), &[], 4), Placement::default());
    }

    #[test]
    fn loops_of_machine_code_are_found() {
        let wasm = wat::parse_str(
            "(module (memory 1) (func (param i32) (loop $l
                (i32.store8 (local.get 0) (i32.const 1))
                (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 7)))
                    (i32.const 1000))))))",
        )
        .expect("valid text");
        // The slow path for fuel jumps back from behind the end; it calls, and is no loop.
        for metered in [false, true] {
            let settings = Settings { metered, ..Settings::default() };
            let compiler = Compiler::new(settings).expect("the host is supported");
            let artifact = compiler.compile(&wasm).expect("a valid module");
            let Range { start, end } = artifact.functions[0];
            let calls = artifact.sites.calls().map(|(pc, wasm)| (pc - start, wasm));
            let calls: Vec<_> = calls.collect();
            let loops = short_loops(&artifact.text[start as usize..end as usize], &calls);
            assert_eq!(loops.len(), 1, "metered: {metered}, {loops:?}");
            let (first, last) = (start + loops[0].start, start + loops[0].end - 1);
            assert_eq!(last / LINE - first / LINE, (last - first) / LINE, "{loops:?} from {start}");
        }
    }
}
