//! Collections of structs and arrays: what can be reached stays, as it is, and nothing else.

use std::collections::HashMap;

use lampwick::{
    AnyRef, Caller, Config, Engine, ExternRef, Func, Instance, Module, ResourceLimiter, Store,
    TrapCode, Val,
};

use crate::support::{Census, Rng, block_on, count_pending, rounds, trap};

fn instantiate<T>(store: &mut Store<T>, wat: &str, imports: &[lampwick::Extern]) -> Instance {
    let module = Module::new(store.engine(), wat).unwrap();
    Instance::new(store, &module, imports).unwrap()
}

/// A graph of nodes in a table, which a guest changes and a model in Rust repeats.
const GRAPH: &str = r#"(module
    (import "" "collect" (func $collect))
    (rec
        (type $node
            (struct (field i32) (field (mut (ref null $node))) (field (mut (ref null $edges)))))
        (type $edges (array (mut (ref null $node)))))
    (table $roots 16 (ref null $node))
    (func (export "make") (param $at i32) (param $name i32) (param $edges i32)
        (local $new (ref null $node)) (local $array (ref null $edges))
        (local.set $array (array.new_default $edges (local.get $edges)))
        (call $collect)
        (local.set $new (struct.new $node (local.get $name) (ref.null $node) (local.get $array)))
        (call $collect)
        (table.set $roots (local.get $at) (local.get $new)))
    (func (export "drop") (param i32) (table.set $roots (local.get 0) (ref.null $node)))
    (func (export "next") (param $from i32) (param $to i32)
        (struct.set $node 1
            (table.get $roots (local.get $from)) (table.get $roots (local.get $to))))
    (func (export "edge") (param $from i32) (param $at i32) (param $to i32)
        (array.set $edges
            (struct.get $node 2 (table.get $roots (local.get $from)))
            (local.get $at) (table.get $roots (local.get $to))))
    (func (export "follow") (param $from i32) (param $to i32)
        (table.set $roots (local.get $to) (struct.get $node 1 (table.get $roots (local.get $from)))))
    (func (export "walk") (param i32) (result anyref) (table.get $roots (local.get 0))))"#;

#[derive(Clone)]
struct Node {
    next: Option<i32>,
    edges: Vec<Option<i32>>,
}

/// Compares what can be reached from a node with the model.
fn compare(store: &Store<()>, root: AnyRef, model: &HashMap<i32, Node>) {
    let mut seen = HashMap::new();
    let mut todo = vec![root];
    while let Some(node) = todo.pop() {
        let name = node.get(store, 0).unwrap().unwrap_i32();
        if let Some(before) = seen.get(&name) {
            assert!(node.ptr_eq(before), "one node for each name");
            continue;
        }
        seen.insert(name, node.clone());
        let expected = &model[&name];
        let edges = node.get(store, 2).unwrap().unwrap_anyref().unwrap();
        assert_eq!(edges.len(store).unwrap() as usize, expected.edges.len());
        let mut targets = vec![(node.get(store, 1).unwrap(), expected.next)];
        for (index, expected) in expected.edges.iter().enumerate() {
            targets.push((edges.get(store, index as u32).unwrap(), *expected));
        }
        for (found, expected) in targets {
            let found = found.unwrap_anyref();
            let name = found.as_ref().map(|node| node.get(store, 0).unwrap().unwrap_i32());
            assert_eq!(name, expected);
            todo.extend(found);
        }
    }
}

#[test]
fn random_graphs_are_as_their_model_says() {
    let mut random = Rng::new("random_graphs_are_as_their_model_says");
    for stress in [true, false] {
        let engine = Engine::new(Config::new().gc_stress(stress)).unwrap();
        let mut store = Store::new(&engine, ());
        let collect = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| caller.gc());
        let instance = instantiate(&mut store, GRAPH, &[collect.into()]);
        let call = |store: &mut Store<()>, name: &str, args: &[i32]| {
            let args: Vec<Val> = args.iter().map(|&arg| arg.into()).collect();
            let func = instance.get_func(&mut *store, name).unwrap();
            func.call(store, &args).unwrap().first().cloned()
        };
        let mut roots: [Option<i32>; 16] = [None; 16];
        let mut model = HashMap::new();
        for name in 0..rounds(2_000) as i32 {
            let (from, to) = (random.below(16) as usize, random.below(16) as usize);
            let node = roots[from].map(|name| (name, model.get_mut(&name).unwrap()));
            match (random.below(8), node) {
                (0, _) => {
                    call(&mut store, "drop", &[from as i32]);
                    roots[from] = None;
                }
                (1 | 2, Some((_, node))) => {
                    call(&mut store, "next", &[from as i32, to as i32]);
                    let node: &mut Node = node;
                    node.next = roots[to];
                }
                (3 | 4, Some((_, node))) if !node.edges.is_empty() => {
                    let at = random.below(node.edges.len() as u64) as usize;
                    call(&mut store, "edge", &[from as i32, at as i32, to as i32]);
                    node.edges[at] = roots[to];
                }
                (5, Some((_, node))) => {
                    roots[to] = node.next;
                    call(&mut store, "follow", &[from as i32, to as i32]);
                }
                _ => {
                    let edges = if random.one_in(20) { 20_000 } else { random.below(5) };
                    call(&mut store, "make", &[from as i32, name, edges as i32]);
                    let node = Node { next: None, edges: vec![None; edges as usize] };
                    model.insert(name, node);
                    roots[from] = Some(name);
                }
            }
            if random.one_in(50) {
                let root = call(&mut store, "walk", &[to as i32]).unwrap().unwrap_anyref();
                assert_eq!(root.is_some(), roots[to].is_some());
                root.into_iter().for_each(|root| compare(&store, root, &model));
            }
        }
    }
}

const PAIRS: &str = r#"(module
    (type $pair (struct (field (mut anyref)) (field (mut externref))))
    (global $kept (mut (ref null $pair)) (ref.null $pair))
    (func (export "pair") (param anyref externref) (result (ref $pair))
        (struct.new $pair (local.get 0) (local.get 1)))
    (func (export "keep") (param (ref null $pair)) (global.set $kept (local.get 0)))
    (func (export "circle") (param externref) (local (ref null $pair))
        (local.set 1 (struct.new $pair (ref.null any) (local.get 0)))
        (struct.set $pair 0 (local.get 1) (local.get 1))))"#;

#[test]
fn what_the_host_holds_stays_with_all_that_it_refers_to() {
    let census = Census::default();
    let mut store = Store::<()>::default();
    let instance = instantiate(&mut store, PAIRS, &[]);
    let pair = instance.get_func(&mut store, "pair").unwrap();
    let mut last: Val = Val::AnyRef(None);
    for _ in 0..100 {
        let value = ExternRef::new(census.token());
        last = pair.call(&mut store, &[last, value.into()]).unwrap()[0].clone();
    }
    store.gc();
    assert_eq!(census.alive(), 100, "the chain hangs on its last link");
    // A hold is shared by clones, whose order of dropping does not matter.
    let clone = last.clone();
    drop(last);
    store.gc();
    assert_eq!(census.alive(), 100);
    let keep = instance.get_func(&mut store, "keep").unwrap();
    keep.call(&mut store, &[clone]).unwrap();
    store.gc();
    assert_eq!(census.alive(), 100, "a global holds it now");
    keep.call(&mut store, &[Val::AnyRef(None)]).unwrap();
    store.gc();
    assert_eq!(census.alive(), 0);
}

#[test]
fn circles_are_collected() {
    let census = Census::default();
    let mut store = Store::<()>::default();
    let instance = instantiate(&mut store, PAIRS, &[]);
    let circle = instance.get_func(&mut store, "circle").unwrap();
    for _ in 0..1_000 {
        circle.call(&mut store, &[ExternRef::new(census.token()).into()]).unwrap();
    }
    store.gc();
    assert_eq!(census.alive(), 0);
}

/// Notes what a store's heap wants.
struct Limit {
    bytes: usize,
    asked: usize,
}

impl ResourceLimiter for Limit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> bool {
        assert!(current < desired);
        self.asked = self.asked.max(desired);
        desired <= self.bytes
    }

    fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        true
    }
}

const LISTS: &str = r#"(module
    (type $link (struct (field (ref null $link)) (field i64)))
    (type $bytes (array (mut i8)))
    (global $list (mut (ref null $link)) (ref.null $link))
    (func (export "grow") (param i32)
        (loop
            (global.set $list (struct.new $link (global.get $list) (i64.const 1)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "sum") (result i64) (local $at (ref null $link)) (local $sum i64)
        (local.set $at (global.get $list))
        (block $end
            (loop
                (br_if $end (ref.is_null (local.get $at)))
                (local.set $sum (i64.add (local.get $sum) (struct.get $link 1 (local.get $at))))
                (local.set $at (struct.get $link 0 (local.get $at)))
                (br 0)))
        (local.get $sum))
    (func (export "churn") (param i32)
        (loop
            (drop (struct.new $link (ref.null $link) (i64.const 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "filled") (param i32) (result i32)
        (array.len (array.new $bytes (i32.const 1) (local.get 0))))
    (func (export "bytes") (param i32) (result i32)
        (array.len (array.new_default $bytes (local.get 0)))))"#;

fn limited(bytes: usize) -> (Store<Limit>, Instance) {
    let mut store = Store::new(&Engine::default(), Limit { bytes, asked: 0 });
    store.limiter(|limit| limit);
    let instance = instantiate(&mut store, LISTS, &[]);
    (store, instance)
}

#[test]
fn a_limiter_bounds_the_heap_and_garbage_makes_room() {
    let (mut store, instance) = limited(4 << 20);
    let churn = instance.get_typed_func::<i32, (), _>(&mut store, "churn").unwrap();
    churn.call(&mut store, 2_000_000).unwrap();
    assert!(store.data().asked <= 4 << 20, "{}", store.data().asked);
    let grow = instance.get_typed_func::<i32, (), _>(&mut store, "grow").unwrap();
    let trap = grow.call(&mut store, 10_000_000).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::HeapExhausted));
    let sum = instance.get_typed_func::<(), i64, _>(&mut store, "sum").unwrap();
    let links = sum.call(&mut store, ()).unwrap();
    // A link takes 32 bytes.
    assert!((100_000..=131_072).contains(&links), "{links}");
}

#[test]
fn the_setting_bounds_the_heap_where_there_is_no_limiter() {
    let engine = Engine::new(Config::new().gc_heap_maximum_size(1 << 20)).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = instantiate(&mut store, LISTS, &[]);
    let grow = instance.get_typed_func::<i32, (), _>(&mut store, "grow").unwrap();
    let trap = grow.call(&mut store, 10_000_000).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::HeapExhausted));
    let bytes = instance.get_typed_func::<i32, i32, _>(&mut store, "bytes").unwrap();
    assert!(bytes.call(&mut store, 2 << 20).is_err());
    for len in [-1, i32::MIN, i32::MAX] {
        let trap = bytes.call(&mut store, len).unwrap_err();
        let code = trap.trap_code().unwrap();
        assert!(matches!(code, TrapCode::AllocationTooLarge | TrapCode::HeapExhausted), "{len}");
    }
}

#[test]
fn a_list_of_a_million_links_is_marked_without_recursion() {
    let mut store = Store::<()>::default();
    let instance = instantiate(&mut store, LISTS, &[]);
    let grow = instance.get_typed_func::<i32, (), _>(&mut store, "grow").unwrap();
    grow.call(&mut store, 1_000_000).unwrap();
    store.gc();
    let sum = instance.get_typed_func::<(), i64, _>(&mut store, "sum").unwrap();
    assert_eq!(sum.call(&mut store, ()).unwrap(), 1_000_000);
}

#[test]
fn a_guest_dropped_while_it_collects_or_makes_much_leaves_a_usable_store() {
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true);
    let mut store = Store::new(&Engine::new(&config).unwrap(), ());
    store.out_of_fuel_async_yield(u64::MAX, 10_000);
    let module = Module::new(store.engine(), LISTS).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    let grow = instance.get_typed_func::<i32, (), _>(&mut store, "grow").unwrap();
    block_on(grow.call_async(&mut store, 200_000)).unwrap();
    let churn = instance.get_typed_func::<i32, (), _>(&mut store, "churn").unwrap();
    let bytes = instance.get_typed_func::<i32, i32, _>(&mut store, "bytes").unwrap();
    let sum = instance.get_typed_func::<(), i64, _>(&mut store, "sum").unwrap();
    for polls in [1, 10, 50, 100, 200, 300, 400, 500] {
        {
            let mut call = std::pin::pin!(churn.call_async(&mut store, 400_000));
            for _ in 0..polls {
                assert!(crate::support::poll(call.as_mut()).is_pending());
            }
        }
        {
            let mut call = std::pin::pin!(bytes.call_async(&mut store, 64 << 20));
            for _ in 0..polls.min(60) {
                let _ = crate::support::poll(call.as_mut()).is_pending();
            }
        }
        assert_eq!(block_on(sum.call_async(&mut store, ())).unwrap(), 200_000);
    }
    let trapped = block_on(bytes.call_async(&mut store, -1)).unwrap_err();
    assert_eq!(trap(trapped.into()).trap_code(), Some(TrapCode::AllocationTooLarge));
}

#[test]
fn collections_and_large_arrays_yield_whatever_fuel_there_is() {
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true);
    let mut store = Store::new(&Engine::new(&config).unwrap(), ());
    store.add_fuel(u64::MAX).unwrap();
    let module = Module::new(store.engine(), LISTS).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    let grow = instance.get_typed_func::<i32, (), _>(&mut store, "grow").unwrap();
    block_on(grow.call_async(&mut store, 300_000)).unwrap();
    let churn = instance.get_typed_func::<i32, (), _>(&mut store, "churn").unwrap();
    let (yields, result) = count_pending(churn.call_async(&mut store, 600_000));
    result.unwrap();
    // A part follows less than 500 links.
    assert!(yields > 300_000 / 500, "{yields} yields");
    let filled = instance.get_typed_func::<i32, i32, _>(&mut store, "filled").unwrap();
    let (yields, result) = count_pending(filled.call_async(&mut store, 64 << 20));
    assert_eq!(result.unwrap(), 64 << 20);
    assert!(yields > 20, "{yields} yields");
}

/// What was read from an object, and is in no local, while the object forgets it and room is made.
#[test]
fn what_is_on_the_operand_stack_stays() {
    const WAT: &str = r#"(module
        (type $node (struct (field i32) (field (mut (ref null $node)))))
        (type $list (array (mut (ref null $node))))
        (func $leaf (param i32) (result (ref $node))
            (struct.new $node (local.get 0) (ref.null $node)))
        (func $churn
            (drop (call $leaf (i32.const 1))) (drop (call $leaf (i32.const 2)))
            (drop (call $leaf (i32.const 3))))
        (func (export "field") (result i32) (local $node (ref null $node))
            (local.set $node (struct.new $node (i32.const 7) (call $leaf (i32.const 42))))
            (struct.get $node 1 (local.get $node))
            (struct.set $node 1 (local.get $node) (ref.null $node))
            (call $churn)
            struct.get $node 0)
        (func (export "element") (result i32) (local $list (ref null $list))
            (local.set $list (array.new $list (call $leaf (i32.const 42)) (i32.const 3)))
            (array.get $list (local.get $list) (i32.const 2))
            (array.fill $list (local.get $list) (i32.const 0) (ref.null $node) (i32.const 3))
            (call $churn)
            struct.get $node 0)
        (func (export "new") (result i32)
            (struct.new $node (i32.const 42) (ref.null $node))
            (call $churn)
            struct.get $node 0)
        (func (export "fixed") (result i32)
            (array.new_fixed $list 2 (call $leaf (i32.const 1)) (call $leaf (i32.const 42)))
            (call $churn)
            (struct.get $node 0 (array.get $list (i32.const 1)))))"#;
    let engine = Engine::new(Config::new().gc_stress(true)).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = instantiate(&mut store, WAT, &[]);
    for name in ["field", "element", "new", "fixed"] {
        let func = instance.get_typed_func::<(), i32, _>(&mut store, name).unwrap();
        assert_eq!(func.call(&mut store, ()).unwrap(), 42, "{name}");
    }
}

#[test]
fn an_interrupt_is_heard_in_the_midst_of_an_array() {
    let mut config = Config::new();
    config.async_support(true).interruptable(true);
    let mut store = Store::new(&Engine::new(&config).unwrap(), ());
    let module = Module::new(store.engine(), LISTS).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    let handle = store.interrupt_handle().unwrap();
    let filled = instance.get_typed_func::<i32, i32, _>(&mut store, "filled").unwrap();
    let mut call = std::pin::pin!(filled.call_async(&mut store, 1 << 30));
    for _ in 0..5 {
        assert!(crate::support::poll(call.as_mut()).is_pending());
    }
    handle.interrupt();
    let (yields, result) = count_pending(call);
    assert_eq!(result.unwrap_err().trap_code(), Some(TrapCode::Interrupt));
    assert!(yields < 5, "{yields} yields");
}

#[test]
fn frames_of_nested_calls_keep_what_they_hold() {
    const WAT: &str = r#"(module
        (import "" "again" (func $again (param i32)))
        (type $box (struct (field i32)))
        (func (export "nest") (param $depth i32) (result i32) (local $box (ref null $box))
            (local.set $box (struct.new $box (local.get $depth)))
            (if (local.get $depth)
                (then (call $again (i32.sub (local.get $depth) (i32.const 1)))))
            (struct.get $box 0 (local.get $box))))"#;
    let engine = Engine::new(Config::new().gc_stress(true)).unwrap();
    let mut store = Store::new(&engine, ());
    let again = Func::wrap(&mut store, |mut caller: Caller<'_, ()>, depth: i32| {
        let nest = caller.get_export("nest").unwrap().into_func().unwrap();
        let nest = nest.typed::<i32, i32, _>(&caller).unwrap();
        assert_eq!(nest.call(&mut caller, depth).unwrap(), depth);
        caller.gc();
    });
    let instance = instantiate(&mut store, WAT, &[again.into()]);
    let nest = instance.get_typed_func::<i32, i32, _>(&mut store, "nest").unwrap();
    assert_eq!(nest.call(&mut store, 50).unwrap(), 50);
}
