//! Limits on what a store may grow to, with limiters that answer at once and such that wait.

use lampwick::{
    Config, Engine, Instance, Linker, Memory, MemoryType, Module, ResourceLimiter,
    ResourceLimiterAsync, Store, StoreLimits, StoreLimitsBuilder, Table, TableType, TypedFunc, Val,
    ValType, async_trait,
};

use crate::support::{Census, Token, asynchronous, block_on, engine, panic_of, pend};

pub(crate) const PAGE: usize = 1 << 16;

pub(crate) const GUEST: &str = r#"(module
    (memory (export "memory") 1 4)
    (table (export "table") 2 8 funcref)
    (func (export "grow memory") (param i32) (result i32) local.get 0 memory.grow)
    (func (export "grow table") (param i32) (result i32) ref.null func local.get 0 table.grow)
    (func (export "size") (result i32) memory.size))"#;

/// What a limiter was asked and told, and how it answers.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<String>,
    pub(crate) refuse: bool,
    pub(crate) panic: bool,
    /// How often an async answer is pending.
    pub(crate) pend: u32,
    pub(crate) census: Census,
}

impl Log {
    fn asked(&mut self, what: &str, sizes: String) -> bool {
        assert!(!self.panic, "the limiter's panic");
        self.events.push(format!("{what} {sizes}"));
        !self.refuse
    }

    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.events).join("; ")
    }
}

impl ResourceLimiter for Log {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        self.asked("memory", format!("{current} {desired} {maximum:?}"))
    }

    fn memory_grow_failed(&mut self, error: &anyhow::Error) {
        self.events.push(format!("failed: {error}"));
    }

    fn table_growing(&mut self, current: u32, desired: u32, maximum: Option<u32>) -> bool {
        self.asked("table", format!("{current} {desired} {maximum:?}"))
    }

    fn table_grow_failed(&mut self, error: &anyhow::Error) {
        self.events.push(format!("failed: {error}"));
    }
}

#[async_trait]
impl ResourceLimiterAsync for Log {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> bool {
        let _token: Token = self.census.token();
        pend(self.pend).await;
        ResourceLimiter::memory_growing(self, current, desired, maximum)
    }

    fn memory_grow_failed(&mut self, error: &anyhow::Error) {
        ResourceLimiter::memory_grow_failed(self, error);
    }

    async fn table_growing(&mut self, current: u32, desired: u32, maximum: Option<u32>) -> bool {
        let _token: Token = self.census.token();
        pend(self.pend).await;
        ResourceLimiter::table_growing(self, current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: &anyhow::Error) {
        ResourceLimiter::table_grow_failed(self, error);
    }
}

pub(crate) type Grow = TypedFunc<i32, i32>;

pub(crate) struct Guest {
    pub(crate) store: Store<Log>,
    pub(crate) instance: Instance,
    pub(crate) memory: Grow,
    pub(crate) table: Grow,
}

impl Guest {
    pub(crate) fn exports(mut store: Store<Log>, instance: Instance) -> Self {
        let memory = instance.get_typed_func(&mut store, "grow memory").unwrap();
        let table = instance.get_typed_func(&mut store, "grow table").unwrap();
        store.data_mut().events.clear();
        Self { store, instance, memory, table }
    }

    pub(crate) fn new(engine: &Engine) -> Self {
        let mut store = Store::new(engine, Log::default());
        store.limiter(|log| log);
        let module = Module::new(engine, GUEST).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        Self::exports(store, instance)
    }

    pub(crate) fn new_async(engine: &Engine) -> Self {
        let mut store = Store::new(engine, Log::default());
        store.limiter_async(|log| log);
        let module = Module::new(engine, GUEST).unwrap();
        let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
        Self::exports(store, instance)
    }

    pub(crate) fn pages(&mut self) -> u64 {
        self.instance.get_memory(&mut self.store, "memory").unwrap().size(&self.store)
    }
}

#[test]
fn a_guest_grows_as_far_as_the_limiter_permits() {
    let Guest { mut store, memory, table, .. } = Guest::new(&Engine::default());
    assert_eq!(memory.call(&mut store, 2).unwrap(), 1);
    assert_eq!(store.data_mut().take(), "memory 65536 196608 Some(262144)");
    assert_eq!(table.call(&mut store, 3).unwrap(), 2);
    assert_eq!(store.data_mut().take(), "table 2 5 Some(8)");
    store.data_mut().refuse = true;
    assert_eq!(memory.call(&mut store, 1).unwrap(), -1);
    assert_eq!(table.call(&mut store, 1).unwrap(), -1);
    assert_eq!(store.data_mut().take(), "memory 196608 262144 Some(262144); table 5 6 Some(8)");
    assert_eq!((memory.call(&mut store, 0).unwrap(), table.call(&mut store, 0).unwrap()), (3, 5));
    assert_eq!(store.data_mut().take(), "", "growth by nothing is not asked about");
}

#[test]
fn a_limiter_hears_of_growth_that_failed() {
    let Guest { mut store, memory, table, .. } = Guest::new(&Engine::default());
    assert_eq!(memory.call(&mut store, 4).unwrap(), -1);
    assert_eq!(
        store.data_mut().take(),
        "memory 65536 327680 Some(262144); \
         failed: a memory of 1 pages cannot grow by 4: its maximum is 4"
    );
    assert_eq!(table.call(&mut store, -1).unwrap(), -1);
    let events = store.data_mut().take();
    assert!(events.starts_with("table 2 4294967295 Some(8); failed: cannot grow a"), "{events}");
}

#[test]
fn initial_sizes_are_asked_about() {
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST).unwrap();
    let mut store = Store::new(&engine, Log::default());
    store.limiter(|log| log);
    Instance::new(&mut store, &module, &[]).unwrap();
    assert_eq!(store.data_mut().take(), "memory 0 65536 Some(262144); table 0 2 Some(8)");
    store.data_mut().refuse = true;
    let error = Instance::new(&mut store, &module, &[]).unwrap_err().to_string();
    assert_eq!(error, "the store's limiter does not let grow a memory from 0 to 65536 bytes");
    let limits = StoreLimitsBuilder::new().table_elements(1).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let error = Instance::new(&mut store, &module, &[]).unwrap_err().to_string();
    assert_eq!(error, "the store's limiter does not let grow a table from 0 to 2 elements");
}

#[test]
fn imports_are_not_asked_about() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, Log::default());
    store.limiter(|log| log);
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let table = TableType::new(ValType::FuncRef, 1, None);
    let table = Table::new(&mut store, table, Val::FuncRef(None)).unwrap();
    assert_eq!(store.data_mut().take(), "memory 0 65536 None; table 0 1 None");
    let text = r#"(module (import "" "" (memory 1)) (import "" "" (table 1 funcref)))"#;
    let module = Module::new(&engine, text).unwrap();
    store.data_mut().refuse = true;
    Instance::new(&mut store, &module, &[memory.into(), table.into()]).unwrap();
    assert_eq!(store.data_mut().take(), "");
}

#[test]
fn the_host_is_limited_too() {
    let mut store = Store::new(&Engine::default(), Log::default());
    store.limiter(|log| log);
    let memory = Memory::new(&mut store, MemoryType::new(0, Some(2))).unwrap();
    let ty = TableType::new(ValType::ExternRef, 0, Some(2));
    let table = Table::new(&mut store, ty.clone(), Val::null()).unwrap();
    assert_eq!(memory.grow(&mut store, 1).unwrap(), 0);
    assert_eq!(table.grow(&mut store, 1, Val::null()).unwrap(), 0);
    store.data_mut().events.clear();
    memory.grow(&mut store, u64::MAX).unwrap_err();
    let asked = format!("memory 65536 {} Some(131072); failed: ", usize::MAX);
    assert!(store.data_mut().take().starts_with(&asked));
    table.grow(&mut store, 2, Val::null()).unwrap_err();
    assert!(store.data_mut().take().starts_with("table 1 3 Some(2); failed: "));
    store.data_mut().refuse = true;
    let error = memory.grow(&mut store, 1).unwrap_err().to_string();
    assert_eq!(error, "the store's limiter does not let grow a memory from 65536 to 131072 bytes");
    assert!(table.grow(&mut store, 1, Val::null()).is_err());
    assert!(Memory::new(&mut store, MemoryType::new(0, None)).is_err());
    assert!(Table::new(&mut store, ty, Val::null()).is_err());
    assert!(!store.data_mut().take().contains("failed"), "a refusal is no failure");
    assert_eq!((memory.size(&store), table.size(&store)), (1, 1));
}

#[test]
fn things_that_cannot_be_made_have_failed() {
    let mut store = Store::new(&Engine::default(), Log::default());
    store.limiter(|log| log);
    Memory::new(&mut store, MemoryType::new(2, Some(1))).unwrap_err();
    let events = store.data_mut().take();
    assert!(events.starts_with("memory 0 131072 Some(65536); failed: cannot make"), "{events}");
    let ty = TableType::new(ValType::FuncRef, 20_000_000, None);
    Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err();
    let events = store.data_mut().take();
    assert!(events.starts_with("table 0 20000000 None; failed: cannot make"), "{events}");
}

#[test]
fn the_ten_thousand_and_first_instance_fails() {
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), "(module)").unwrap();
    for _ in 0..10_000 {
        Instance::new(&mut store, &module, &[]).unwrap();
    }
    let error = Instance::new(&mut store, &module, &[]).unwrap_err().to_string();
    assert_eq!(error, "a store may have 10000 instances: it has 10000 and cannot have 1 more");
}

#[test]
fn tables_are_counted_by_default() {
    let mut store = Store::<()>::default();
    let ty = TableType::new(ValType::FuncRef, 0, None);
    for _ in 0..10_000 {
        Table::new(&mut store, ty.clone(), Val::FuncRef(None)).unwrap();
    }
    let error = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err().to_string();
    assert_eq!(error, "a store may have 10000 tables: it has 10000 and cannot have 1 more");
    let module = Module::new(store.engine(), "(module (table 0 funcref))").unwrap();
    assert!(Instance::new(&mut store, &module, &[]).is_err());
}

#[test]
fn counts_can_be_set_and_changed() {
    let engine = Engine::default();
    let limits = StoreLimitsBuilder::new().instances(2).tables(1).memories(1).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let module = Module::new(&engine, "(module (memory 0))").unwrap();
    Instance::new(&mut store, &module, &[]).unwrap();
    let error = Instance::new(&mut store, &module, &[]).unwrap_err().to_string();
    assert_eq!(error, "a store may have 1 memories: it has 1 and cannot have 1 more");
    assert!(Memory::new(&mut store, MemoryType::new(0, None)).is_err());
    let module = Module::new(&engine, "(module)").unwrap();
    Instance::new(&mut store, &module, &[]).unwrap();
    assert!(Instance::new(&mut store, &module, &[]).is_err());
    *store.data_mut() = StoreLimits::default();
    Instance::new(&mut store, &module, &[]).unwrap();
}

#[test]
fn a_limiter_that_panics_does_so_where_the_call_is() {
    let mut guest = Guest::new(&Engine::default());
    guest.store.data_mut().panic = true;
    let Guest { store, memory, table, .. } = &mut guest;
    assert_eq!(panic_of(|| memory.call(&mut *store, 1)), "the limiter's panic");
    assert_eq!(panic_of(|| table.call(&mut *store, 1)), "the limiter's panic");
    store.data_mut().panic = false;
    assert_eq!(memory.call(&mut *store, 1).unwrap(), 1, "nothing had grown");

    let mut guest = Guest::new_async(&asynchronous());
    let Guest { store, memory, table, .. } = &mut guest;
    (store.data_mut().panic, store.data_mut().pend) = (true, 2);
    assert_eq!(panic_of(|| block_on(memory.call_async(&mut *store, 1))), "the limiter's panic");
    assert_eq!(panic_of(|| block_on(table.call_async(&mut *store, 1))), "the limiter's panic");
    assert_eq!((store.data().census.made(), store.data().census.alive()), (4, 0));
    store.data_mut().panic = false;
    assert_eq!(block_on(memory.call_async(&mut *store, 1)).unwrap(), 1);
}

#[test]
fn memories_that_move_are_limited_as_well() {
    let engine = engine(|config: &mut Config| {
        config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
    });
    let limits = StoreLimitsBuilder::new().memory_size(3 * PAGE + 1).build();
    let mut store = Store::new(&engine, limits);
    store.limiter(|limits| limits);
    let module = Module::new(&engine, GUEST).unwrap();
    let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow memory").unwrap();
    let size = instance.get_typed_func::<(), i32, _>(&mut store, "size").unwrap();
    assert_eq!(grow.call(&mut store, 3).unwrap(), -1);
    assert_eq!(grow.call(&mut store, 2).unwrap(), 1);
    assert_eq!(grow.call(&mut store, 1).unwrap(), -1);
    assert_eq!(size.call(&mut store, ()).unwrap(), 3);
}
