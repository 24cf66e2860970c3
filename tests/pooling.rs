//! Pooling: hard limits, and errors that name them.

use lampwick::{
    Config, Engine, Instance, InstanceAllocationStrategy, InstanceLimits, Linker, Memory,
    MemoryType, Module, ModuleLimits, PoolExhausted, PoolLimitError, PoolingAllocationStrategy,
    ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, Table, TableType, TrapCode, Val,
    ValType,
};

use crate::support::{engine, instantiate};

const PAGE: usize = 1 << 16;

/// Pooling with room for `count` instances.
pub(crate) fn pooling(count: u32, module_limits: ModuleLimits) -> InstanceAllocationStrategy {
    InstanceAllocationStrategy::Pooling {
        strategy: PoolingAllocationStrategy::NextAvailable,
        module_limits,
        instance_limits: InstanceLimits { count },
    }
}

/// A synchronous engine with room for `count` instances.
pub(crate) fn pool(count: u32) -> Engine {
    engine(|config| {
        config.allocation_strategy(pooling(count, ModuleLimits::default()));
    })
}

/// How many slots there are, and how many of them the store has.
pub(crate) fn exhausted(error: &anyhow::Error) -> (u32, u32) {
    let error = error.downcast_ref::<PoolExhausted>().expect("the pool is exhausted");
    (error.count(), error.held())
}

const SMALL: ModuleLimits = ModuleLimits {
    imported_functions: 2,
    imported_tables: 1,
    imported_memories: 0,
    imported_globals: 1,
    types: 3,
    functions: 2,
    tables: 2,
    memories: 1,
    globals: 2,
    table_elements: 10,
    memory_pages: 3,
};

#[test]
fn modules_beyond_a_limit_are_refused() {
    let import = |what: &str| format!(r#"(import "" "" {what})"#);
    let cases = [
        ("imported_functions", import("(func)"), "".to_owned()),
        ("imported_tables", import("(table 0 funcref)"), "".to_owned()),
        ("imported_memories", import("(memory 100)"), "".to_owned()),
        ("imported_globals", import("(global i32)"), "".to_owned()),
        ("types", "(type (func))".to_owned(), "".to_owned()),
        ("functions", "(func)".to_owned(), "".to_owned()),
        ("tables", "(table 10 funcref)".to_owned(), import("(table 10 funcref)")),
        ("memories", "(memory 3 100)".to_owned(), "".to_owned()),
        ("globals", "(global i32 i32.const 0)".to_owned(), import("(global i32)")),
    ];
    let bounds = [2, 1, 0, 1, 3, 2, 2, 1, 2];
    let engine = engine(|config| {
        config.allocation_strategy(pooling(1, SMALL));
    });
    for ((limit, field, others), bound) in cases.iter().zip(bounds) {
        let text = |count: usize| format!("(module {others} {})", field.repeat(count));
        if let Err(error) = Module::new(&engine, text(bound)) {
            panic!("{bound} of {limit}: {error:#}");
        }
        // Two memories are no valid module yet, whatever the limit.
        if *limit != "memories" {
            assert_refused(&engine, &text(bound + 1), limit, bound as u64 + 1, bound as u64);
        }
    }
    assert_refused(&engine, "(module (table 11 externref))", "table_elements", 11, 10);
    let second = "(module (table 10 funcref) (table 99 funcref))";
    assert_refused(&engine, second, "table_elements", 99, 10);
    assert_refused(&engine, "(module (memory 4))", "memory_pages", 4, 3);
    let none = self::engine(|config| {
        config.allocation_strategy(pooling(1, ModuleLimits { memories: 0, ..SMALL }));
    });
    assert_refused(&none, "(module (memory 0))", "memories", 1, 0);
}

fn assert_refused(engine: &Engine, text: &str, limit: &str, value: u64, bound: u64) {
    let error = Module::new(engine, text).unwrap_err();
    let found = error.downcast_ref::<PoolLimitError>().unwrap_or_else(|| panic!("{error:#}"));
    assert_eq!((found.limit(), found.value(), found.bound()), (limit, value, bound), "{text}");
    let expected = format!("`{limit}` is {bound}, but {value} are asked for");
    assert!(format!("{error:#}").contains(&expected), "{error:#}");
}

#[test]
fn a_refused_module_is_not_compiled() {
    // The function's body is not valid, which only compiling it tells.
    let engine = engine(|config| {
        config.allocation_strategy(pooling(1, ModuleLimits { functions: 0, ..SMALL }));
    });
    assert_refused(&engine, "(module (func i32.add))", "functions", 1, 0);
}

#[test]
fn an_instance_too_many_fails_until_a_store_is_dropped() {
    let engine = pool(3);
    let module = Module::new(&engine, "(module (memory 1))").unwrap();
    let mut one = Store::new(&engine, ());
    let mut two = Store::new(&engine, ());
    Instance::new(&mut one, &module, &[]).unwrap();
    Instance::new(&mut one, &module, &[]).unwrap();
    let mut third = Store::new(&engine, ());
    Instance::new(&mut third, &module, &[]).unwrap();
    let error = Instance::new(&mut two, &module, &[]).unwrap_err();
    assert_eq!(exhausted(&error), (3, 0));
    let text = error.to_string();
    assert!(text.contains("all 3 (`InstanceLimits::count`) are taken, 0 of them by"), "{text}");
    assert_eq!(exhausted(&Instance::new(&mut one, &module, &[]).unwrap_err()), (3, 2));
    let linker = Linker::new(&engine);
    assert_eq!(exhausted(&linker.instantiate(&mut two, &module).unwrap_err()), (3, 0));
    assert_eq!(one.into_data(), ());
    for _ in 0..2 {
        linker.instantiate(&mut two, &module).unwrap();
    }
    assert_eq!(exhausted(&linker.instantiate(&mut two, &module).unwrap_err()), (3, 2));
}

#[test]
fn a_pool_without_room_makes_no_instance() {
    let engine = pool(0);
    let module = Module::new(&engine, "(module)").unwrap();
    let mut store = Store::new(&engine, ());
    assert_eq!(exhausted(&Instance::new(&mut store, &module, &[]).unwrap_err()), (0, 0));
}

#[test]
fn what_fails_before_it_is_an_instance_gives_its_slot_back() {
    let engine = pool(1);
    let new = |store: &mut Store<StoreLimits>, text: &str| {
        Instance::new(store, &Module::new(&engine, text).unwrap(), &[])
    };
    let mut store = Store::new(&engine, StoreLimitsBuilder::new().memory_size(PAGE).build());
    store.limiter(|limits| limits);
    for (text, expected) in
        [(r#"(module (import "" "" (func)))"#, "imports"), ("(module (memory 2))", "limiter")]
    {
        let error = new(&mut store, text).unwrap_err();
        assert!(!error.is::<PoolExhausted>() && error.to_string().contains(expected), "{error:#}");
    }
    // What the segments did stays, and so does the instance.
    let error = new(&mut store, r#"(module (memory 1) (data (i32.const 65536) "x"))"#).unwrap_err();
    assert_eq!(crate::support::trap(error).trap_code(), Some(TrapCode::MemoryOutOfBounds));
    assert_eq!(exhausted(&new(&mut store, "(module)").unwrap_err()), (1, 1));
    drop(store);
    let mut store = Store::new(&engine, StoreLimits::default());
    new(&mut store, "(module (func $f unreachable) (start $f))").unwrap_err();
    assert_eq!(exhausted(&new(&mut store, "(module)").unwrap_err()), (1, 1));
}

#[test]
fn what_was_made_for_an_instance_that_is_none_is_gone() {
    let engine = Engine::default();
    let text = "(module (memory 1) (table 1 funcref) (table 10000001 funcref))";
    let module = Module::new(&engine, text).unwrap();
    let limits = StoreLimitsBuilder::new().memories(1).tables(2).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    for _ in 0..3 {
        let error = Instance::new(&mut store, &module, &[]).unwrap_err().to_string();
        assert!(error.contains("cannot make a table"), "{error}");
    }
    let module = Module::new(&engine, "(module (memory 1) (table 1 funcref))").unwrap();
    Instance::new(&mut store, &module, &[]).unwrap();
}

#[test]
fn the_stores_own_limits_come_first() {
    let engine = pool(2);
    let module = Module::new(&engine, "(module)").unwrap();
    let mut store = Store::new(&engine, StoreLimitsBuilder::new().instances(2).build());
    store.limiter(|limits| limits);
    for _ in 0..2 {
        Instance::new(&mut store, &module, &[]).unwrap();
    }
    let error = Instance::new(&mut store, &module, &[]).unwrap_err();
    assert!(error.to_string().contains("a store may have 2 instances"), "{error}");
}

/// Says yes, and keeps the limits that growth has met.
#[derive(Default)]
struct Met(Vec<PoolLimitError>);

impl ResourceLimiter for Met {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> bool {
        true
    }

    fn memory_grow_failed(&mut self, error: &anyhow::Error) {
        self.0.extend(error.downcast_ref::<PoolLimitError>());
    }

    fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        true
    }

    fn table_grow_failed(&mut self, error: &anyhow::Error) {
        self.0.extend(error.downcast_ref::<PoolLimitError>());
    }
}

const GROWING: &str = r#"(module (memory (export "memory") 1 100) (table (export "table") 4 externref)
    (func (export "memory grow") (param i32) (result i32) local.get 0 memory.grow)
    (func (export "table grow") (param i32) (result i32)
        ref.null extern local.get 0 table.grow))"#;

#[test]
fn growth_ends_at_the_limit() {
    for static_maximum in [1 << 32, 0] {
        let engine = engine(|config| {
            config
                .allocation_strategy(pooling(1, SMALL))
                .static_memory_maximum_size(static_maximum);
        });
        let mut store = Store::new(&engine, Met::default());
        store.limiter(|met| met);
        let module = Module::new(&engine, GROWING).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let table = instance.get_table(&mut store, "table").unwrap();
        for (resource, limit, first, room, bound) in
            [("memory", "memory_pages", 1, 2, 3), ("table", "table_elements", 4, 6, 10)]
        {
            let grow = format!("{resource} grow");
            let grow = instance.get_typed_func::<i32, i32, _>(&mut store, &grow).unwrap();
            assert_eq!(grow.call(&mut store, room + 1).unwrap(), -1);
            assert_eq!(grow.call(&mut store, room).unwrap(), first);
            assert_eq!(grow.call(&mut store, 1).unwrap(), -1);
            assert_eq!(grow.call(&mut store, 0).unwrap() as u64, bound);
            let error = match resource {
                "memory" => memory.grow(&mut store, 5).unwrap_err(),
                _ => table.grow(&mut store, 5, Val::null()).unwrap_err(),
            };
            assert!(error.is::<PoolLimitError>(), "{error:#}");
            let met = std::mem::take(&mut store.data_mut().0);
            let values: Vec<_> = met.iter().map(PoolLimitError::value).collect();
            assert_eq!(values, [bound + 1, bound + 1, bound + 5]);
            assert!(met.iter().all(|met| (met.limit(), met.bound()) == (limit, bound)));
        }
        assert_eq!(memory.ty(&store).maximum(), Some(100), "the type is what the module says");
    }
}

#[test]
fn what_the_host_makes_is_the_hosts() {
    let engine = engine(|config| {
        config.allocation_strategy(pooling(1, ModuleLimits { imported_memories: 1, ..SMALL }));
    });
    let mut store = Store::new(&engine, ());
    let memories: Vec<_> =
        (0..3).map(|_| Memory::new(&mut store, MemoryType::new(8, Some(20))).unwrap()).collect();
    let ty = TableType::new(ValType::FuncRef, 50, None);
    let table = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
    let text = r#"(module (import "" "" (memory 1)) (import "" "" (table 1 funcref))
        (func (export "grow") (result i32) i32.const 12 memory.grow))"#;
    let module = Module::new(&engine, text).unwrap();
    let imports = [memories[0].into(), table.into()];
    let instance = Instance::new(&mut store, &module, &imports).unwrap();
    let grow = instance.get_typed_func::<(), i32, _>(&mut store, "grow").unwrap();
    assert_eq!(grow.call(&mut store, ()).unwrap(), 8);
    assert_eq!(memories[0].size(&store), 20);
    assert_eq!(table.grow(&mut store, 50, Val::FuncRef(None)).unwrap(), 50);
}

#[test]
fn a_pool_that_cannot_be_had_is_refused() {
    let refusal = |strategy, change: fn(&mut Config)| {
        let mut config = Config::new();
        config.allocation_strategy(strategy);
        change(&mut config);
        format!("{:#}", Engine::new(&config).unwrap_err())
    };
    let text = refusal(pooling(1_000_000, ModuleLimits::default()), |_| {});
    for part in [
        "1000000 instances (`InstanceLimits::count`)",
        "with 1 memories (`ModuleLimits::memories`)",
        "of 6442450944 bytes, guards included (`Config::static_memory_maximum_size`",
        "cannot reserve 6442453091483648 bytes of address space",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = refusal(pooling(1_000_000, ModuleLimits { memories: 17, ..SMALL }), |_| {});
    assert!(text.contains("it can have room for 16777216"), "{text}");
    let text = refusal(pooling(1, ModuleLimits { memory_pages: 65_537, ..SMALL }), |_| {});
    assert!(text.contains("`ModuleLimits::memory_pages` is 65537"), "{text}");
    // Small reservations make room for many: 32 GiB for half a million.
    let engine = engine(|config| {
        config.allocation_strategy(pooling(500_000, ModuleLimits { memory_pages: 1, ..SMALL }));
        config.static_memory_maximum_size(0).static_memory_guard_size(0);
        config.dynamic_memory_guard_size(0);
    });
    instantiate(&engine, "(module (memory 1))");
}

#[test]
fn stores_outlive_their_engine() {
    let engine = pool(2);
    let (mut store, instance) = instantiate(&engine, GROWING);
    drop(engine);
    let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "memory grow").unwrap();
    assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
    instance.get_memory(&mut store, "memory").unwrap().data_mut(&mut store).fill(1);
}

#[test]
fn a_command_takes_a_slot_for_each_call() {
    let engine = pool(2);
    let mut store = Store::new(&engine, ());
    let command = Module::new(&engine, r#"(module (func (export "_start")))"#).unwrap();
    let mut linker = Linker::new(&engine);
    linker.module(&mut store, "command", &command).unwrap();
    let start = linker.get_default(&mut store, "command").unwrap();
    let start = start.typed::<(), (), _>(&store).unwrap();
    start.call(&mut store, ()).unwrap();
    start.call(&mut store, ()).unwrap();
    let trap = start.call(&mut store, ()).unwrap_err();
    let error = anyhow::Error::from(trap);
    assert!(error.chain().any(|source| source.is::<PoolExhausted>()), "{error:#}");
}
