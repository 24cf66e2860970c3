//! Control flow: what is translated, in which order the environment is asked, and what runs.

mod common;

use common::native::Module;
use common::{Env, Event, count, translate};

#[test]
fn hooks_come_in_order() {
    let mut env = Env::new();
    translate(&mut env, "(module (func (loop (br_if 0 (i32.const 0)))))");
    let operator = |name: &str| Event::Operator { name: name.to_owned(), reachable: true };
    let expected = [
        Event::Entry,
        operator("Loop"),
        Event::LoopHeader,
        operator("I32Const"),
        operator("BrIf"),
        operator("End"),
        operator("End"),
        Event::Return,
    ];
    assert_eq!(env.events, expected);
}

#[test]
fn unreachable_code_is_only_tracked() {
    let mut env = Env::new();
    let func = translate(
        &mut env,
        "(module (func (result i32)
            (block (result i32)
                (br 0 (i32.const 1))
                (block (loop (if (i32.const 2) (then (br 2)) (else unreachable))))
                drop
                i32.add
            )
            return
            unreachable
            (block (result i32 i32) unreachable)
            drop))",
    );
    let expected = "Block I32Const Br (Block) (Loop) (I32Const) (If) (Br) (Else) (Unreachable) \
        (End) (End) (End) (Drop) (I32Add) (End) Return (Unreachable) (Block) (Unreachable) (End) \
        (Drop) (End)";
    assert_eq!(env.operators().join(" "), expected);
    assert_eq!(count(&func, "iconst"), 1);
    assert_eq!(count(&func, "trap"), 0);
    assert_eq!(func.layout.blocks().count(), 2);
}

#[test]
fn an_arm_that_leaves_is_not_fallen_through() {
    let mut env = Env::new();
    translate(
        &mut env,
        "(module (func (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (return (i32.const 1)))
                (else (i32.const 2)))))",
    );
    let expected = "LocalGet If I32Const Return (Else) I32Const End End";
    assert_eq!(env.operators().join(" "), expected);
}

#[test]
fn a_block_without_branches_costs_no_clif_block() {
    let func = translate(
        &mut Env::new(),
        "(module (func (param i32) (result i32)
            (block (result i32) (block (result i32) (local.get 0)))))",
    );
    assert_eq!(func.layout.blocks().count(), 1);
}

#[test]
fn the_way_around_an_if_is_its_exit() {
    let func =
        translate(&mut Env::new(), "(module (func (param i32) (if (local.get 0) (then nop))))");
    assert_eq!(func.layout.blocks().count(), 3);
}

#[test]
fn comparisons_reach_branches_unextended() {
    let func = translate(
        &mut Env::new(),
        "(module (func (param i32 f32)
            (loop
                (br_if 0 (i32.lt_s (local.get 0) (i32.const 9)))
                (br_if 0 (i32.eqz (f32.lt (local.get 1) (f32.const 9)))))))",
    );
    let text = func.display().to_string();
    let blocks = func.layout.blocks();
    for inst in blocks.filter_map(|block| func.layout.last_inst(block)) {
        let data = &func.dfg.insts[inst];
        if data.opcode().to_string() == "brif" {
            let condition = func.dfg.inst_args(inst)[0];
            assert_eq!(func.dfg.value_type(condition).bits(), 8, "{text}");
        }
    }
    assert!(text.contains("fcmp.f32 uge"), "{text}");
}

#[test]
fn a_table_without_values_leads_straight_to_its_targets() {
    let func = translate(
        &mut Env::new(),
        "(module (func (param i32)
            (block (block (br_table 0 1 0 1 2 0 (local.get 0))))))",
    );
    assert_eq!(func.layout.blocks().count(), 4);
}

#[test]
fn a_table_with_values_has_one_edge_for_each_target() {
    let func = translate(
        &mut Env::new(),
        "(module (func (param i32) (result i32)
            (block (result i32)
                (block (result i32)
                    (br_table 0 1 0 1 1 0 0 (i32.const 7) (local.get 0))))))",
    );
    // The entry, two edges, two exits.
    assert_eq!(func.layout.blocks().count(), 5);
}

#[test]
fn a_long_table_has_edges_too() {
    let targets = "0 1 ".repeat(1_000);
    let func = translate(
        &mut Env::new(),
        &format!("(module (func (param i32) (block (block (br_table {targets} (local.get 0))))))"),
    );
    assert_eq!(func.layout.blocks().count(), 5);
}

#[test]
fn tables_run() {
    let mut module = Module::new(
        "(module
            (func (param i32) (result i32)
                (block (block (block (block
                    (br_table 0 1 2 0 3 (local.get 0)))
                    (return (i32.const 10)))
                    (return (i32.const 11)))
                    (return (i32.const 12)))
                (i32.const 13))
            (func (param i32) (result i32)
                (block (result i32)
                    (block (result i32)
                        (br_table 0 1 1 0 2 (i32.const 7) (local.get 0)))
                    (i32.add (i32.const 100)))
                (i32.add (i32.const 1000)))
            (func (param i32) (result i32)
                (block (br_table 0 (local.get 0)))
                (i32.const 3))
            (func (param i32) (result i32) (local i32)
                (loop (result i32)
                    (local.set 1 (i32.add (local.get 1) (i32.const 1)))
                    (local.get 1)
                    (local.get 0)
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_table 1 1))
                unreachable))",
    );
    let run = |module: &mut Module, function, arg| module.call_i32(function, &[arg])[0];
    for (arg, result) in [(0, 10), (1, 11), (2, 12), (3, 10), (4, 13), (-1, 13)] {
        assert_eq!(run(&mut module, 0, arg), result);
    }
    for (arg, result) in [(0, 1107), (1, 1007), (2, 1007), (3, 1107), (4, 7), (-1, 7)] {
        assert_eq!(run(&mut module, 1, arg), result);
    }
    assert_eq!(run(&mut module, 2, 5), 3);
    assert_eq!(run(&mut module, 3, 5), 1);
}

#[test]
fn a_table_can_continue_a_loop() {
    let mut module = Module::new(
        "(module (func (param i32) (result i32) (local i32)
            (block
                (loop
                    (local.set 1 (i32.add (local.get 1) (local.get 0)))
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_table 1 0 (local.get 0))))
            (local.get 1)))",
    );
    assert_eq!(module.call_i32(0, &[5]), [15]);
}

#[test]
fn blocks_take_and_leave_several_values() {
    let mut module = Module::new(
        "(module
            (func (param i32 i32) (result i32 i32 i32)
                (local.get 0) (local.get 1)
                (if (param i32 i32) (result i32 i32 i32) (i32.lt_s (local.get 0) (local.get 1))
                    (then (i32.const 1))
                    (else i32.add (i32.const 2) (i32.const 3))))
            (func (param i32 i32) (result i32 i32)
                (local.get 0) (local.get 1)
                (if (param i32 i32) (result i32 i32) (i32.lt_s (local.get 0) (local.get 1))
                    (then drop drop (i32.const 8) (i32.const 9))))
            (func (param i32) (result i32)
                (i32.const 1) (local.get 0)
                (loop (param i32 i32) (result i32)
                    local.set 0
                    (i32.mul (local.get 0))
                    (i32.sub (local.get 0) (i32.const 1))
                    (br_if 0 (i32.gt_s (local.get 0) (i32.const 1)))
                    drop))
            (func (param i32 i32) (result i32 i32)
                (call 1 (local.get 1) (local.get 0))
                (call_indirect (param i32 i32) (result i32 i32) (i32.const 1)))
            (table 4 funcref))",
    );
    assert_eq!(module.call_i32(0, &[4, 5]), [4, 5, 1]);
    assert_eq!(module.call_i32(0, &[5, 4]), [9, 2, 3]);
    assert_eq!(module.call_i32(1, &[4, 5]), [8, 9]);
    assert_eq!(module.call_i32(1, &[5, 4]), [5, 4]);
    assert_eq!(module.call_i32(2, &[6]), [720]);
    assert_eq!(module.call_i32(3, &[4, 5]), [5, 4]);
    assert_eq!(module.call_i32(3, &[5, 4]), [8, 9]);
}

#[test]
fn an_outer_label_is_the_function() {
    let mut module = Module::new(
        "(module (func (param i32) (result i32)
            (block
                (drop (br_if 1 (i32.const 1) (i32.eqz (local.get 0))))
                (br_if 0 (i32.eq (local.get 0) (i32.const 1)))
                (br 1 (i32.const 3)))
            (i32.const 2)))",
    );
    assert_eq!(module.call_i32(0, &[0]), [1]);
    assert_eq!(module.call_i32(0, &[1]), [2]);
    assert_eq!(module.call_i32(0, &[2]), [3]);
}

/// Counts in a variable of the environment, over all kinds of edges.
#[test]
fn the_environment_counts_operators_that_ran() {
    let mut env = Env::new();
    env.count_steps = true;
    let mut module = Module::with_env(
        &mut env,
        "(module
            (func (param i32) (result i32)
                (block (block (block
                    (br_table 0 1 2 (local.get 0)))
                    (br_if 1 (local.get 0)))
                    nop nop)
                (local.get 0))
            (func (param i32)
                (loop
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_if 0 (local.get 0))))
            (func (param i32)
                (if (local.get 0) (then nop nop) (else nop))
                (if (local.get 0) (then nop))))",
    );
    // 3 blocks, get, table; end, get, br_if, end; nop, nop, end; get, end. An end that is branched
    // to is not an operator that runs.
    for (arg, steps) in [(0, 13), (1, 10), (2, 7), (3, 7)] {
        module.call_i32(0, &[arg]);
        assert_eq!(module.steps(), steps, "argument {arg}");
    }
    for arg in 1..5 {
        module.call_i32(1, &[arg]);
        assert_eq!(module.steps(), 1 + 6 * arg as u64 + 2);
    }
    module.call_i32(2, &[1]);
    assert_eq!(module.steps(), 10);
    module.call_i32(2, &[0]);
    assert_eq!(module.steps(), 7);
}
