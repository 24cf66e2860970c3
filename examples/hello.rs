//! A guest says hello through a function of the host's.

use lampwick::{Caller, Engine, Extern, Linker, Module, Store, Trap};

const GUEST: &str = r#"(module
    (import "host" "print" (func $print (param $text i32) (param $len i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "Hello from a guest!")
    (func (export "run") (call $print (i32.const 16) (i32.const 19))))"#;

fn main() -> anyhow::Result<()> {
    // An engine compiles; a module is what it made.
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST)?;

    // A linker knows what guests may import. This function looks into the memory of its caller.
    let mut linker = Linker::new(&engine);
    linker.func_wrap(
        "host",
        "print",
        |mut caller: Caller<'_, Vec<String>>, text: u32, len: u32| {
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                return Err(Trap::new("the guest exports no memory"));
            };
            // What a guest says about its memory may be wrong.
            let (text, len) = (text as usize, len as usize);
            let bytes = memory.data(&caller).get(text..).and_then(|rest| rest.get(..len));
            let bytes = bytes.ok_or_else(|| Trap::new("the text is not in the guest's memory"))?;
            let text = String::from_utf8(bytes.to_vec()).map_err(anyhow::Error::new)?;
            println!("{text}");
            caller.data_mut().push(text);
            Ok(())
        },
    )?;

    // A store is where instances live, beside data of ours: here all that was printed.
    let mut store = Store::new(&engine, Vec::new());
    let instance = linker.instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
    run.call(&mut store, ())?;
    assert_eq!(store.into_data(), ["Hello from a guest!"]);
    Ok(())
}
