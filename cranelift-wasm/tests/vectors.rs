//! Vectors: their one type between operators, and how the environment decides on relaxed ones.

mod common;

use common::native::Module;
use common::{Env, count, translate};
use cranelift_codegen::ir::types;
use cranelift_wasm::RelaxedSimd;

#[test]
fn vectors_pass_through_locals_blocks_and_memory() {
    let mut module = Module::new(
        "(module (memory 1)
            (func (param i32 i32) (result i32 i32) (local v128 v128)
                (local.set 2 (i32x4.splat (local.get 0)))
                (loop
                    (local.set 3
                        (if (result v128) (i32.and (local.get 1) (i32.const 1))
                            (then (i32x4.add (local.get 3) (local.get 2)))
                            (else (i16x8.add (local.get 3) (i16x8.splat (i32.const 1))))))
                    (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))))
                (v128.store (i32.const 32) (local.get 3))
                (i32x4.extract_lane 0 (local.get 3))
                (i32.load offset=12 (i32.const 32))))",
    );
    // Three times the odd way, twice the even.
    assert_eq!(module.call_i32(0, &[100, 5]), [0x2_012e; 2]);
}

#[test]
fn operators_of_the_same_lanes_are_not_cast_in_between() {
    let same = translate(
        &mut Env::new(),
        "(module (func (param v128 v128) (result v128)
            (i32x4.mul (i32x4.add (local.get 0) (local.get 1)) (i32x4.neg (local.get 1)))))",
    );
    // What comes in three times, and what each operator leaves.
    assert_eq!(count(&same, "bitcast"), 3 + 3);
    let bytes = translate(
        &mut Env::new(),
        "(module (func (param v128 v128) (result v128)
            (i8x16.sub (v128.and (local.get 0) (local.get 1)) (local.get 1))))",
    );
    assert_eq!(count(&bytes, "bitcast"), 0);
    let entry = bytes.layout.entry_block().unwrap();
    let params = bytes.dfg.block_params(entry);
    let vectors = params.iter().filter(|&&param| bytes.dfg.value_type(param) == types::I8X16);
    assert_eq!(vectors.count(), 2);
}

const RELAXED: &str = "(module (func (param v128 v128 v128) (result v128)
    (f32x4.relaxed_madd
        (i8x16.relaxed_swizzle (local.get 0) (local.get 1))
        (f32x4.relaxed_min (local.get 1) (local.get 2))
        (i16x8.relaxed_q15mulr_s (local.get 0) (local.get 2)))))";

#[test]
fn the_environment_decides_what_relaxed_operators_are() {
    let opcodes =
        ["swizzle", "fmin", "sqmul_round_sat", "fma", "x86_pshufb", "x86_pmulhrsw", "fmul"];
    let counts = |relaxed_simd| {
        let mut env = Env::new();
        env.relaxed_simd = relaxed_simd;
        let func = translate(&mut env, RELAXED);
        opcodes.map(|opcode| count(&func, opcode))
    };
    assert_eq!(counts(RelaxedSimd::DETERMINISTIC), [1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(counts(RelaxedSimd { x86: true, fused: true }), [0, 0, 0, 1, 1, 1, 0]);
    assert_eq!(counts(RelaxedSimd { x86: true, fused: false }), [0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(counts(RelaxedSimd { x86: false, fused: false }), [1, 1, 1, 0, 0, 0, 1]);
}
