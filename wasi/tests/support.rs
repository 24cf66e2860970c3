//! A guest that does what a test says: it imports all of preview 1, and exports each function again.

use lampwick::{Config, Engine, Instance, Linker, Memory, Module, Store, Trap, Val, ValType};
use lampwick_wasi::{DirPerms, FilePerms, WasiCtx, WasiCtxBuilder, add_to_linker};
use tempfile::TempDir;

/// The functions, and their parameters: `i` for 32 bits, `I` for 64.
pub(crate) const FUNCTIONS: [(&str, &str); 46] = [
    ("args_get", "ii"),
    ("args_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("clock_res_get", "ii"),
    ("clock_time_get", "iIi"),
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "ii"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_get", "ii"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pread", "iiiIi"),
    ("fd_prestat_get", "ii"),
    ("fd_prestat_dir_name", "iii"),
    ("fd_pwrite", "iiiIi"),
    ("fd_read", "iiii"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_seek", "iIii"),
    ("fd_sync", "i"),
    ("fd_tell", "ii"),
    ("fd_write", "iiii"),
    ("path_create_directory", "iii"),
    ("path_filestat_get", "iiiii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_open", "iiiiiIIii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("poll_oneoff", "iiii"),
    ("proc_exit", "i"),
    ("proc_raise", "i"),
    ("sched_yield", ""),
    ("random_get", "ii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("sock_shutdown", "ii"),
];

/// The numbers of errors that tests expect.
pub(crate) mod errno {
    pub(crate) const AGAIN: i32 = 6;
    pub(crate) const DESTADDRREQ: i32 = 17;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const CONNREFUSED: i32 = 14;
    pub(crate) const EXIST: i32 = 20;
    pub(crate) const FAULT: i32 = 21;
    pub(crate) const ILSEQ: i32 = 25;
    pub(crate) const INVAL: i32 = 28;
    pub(crate) const ISDIR: i32 = 31;
    pub(crate) const LOOP: i32 = 32;
    pub(crate) const MFILE: i32 = 33;
    pub(crate) const MSGSIZE: i32 = 35;
    pub(crate) const NAMETOOLONG: i32 = 37;
    pub(crate) const NOENT: i32 = 44;
    pub(crate) const NOSPC: i32 = 51;
    pub(crate) const NOTDIR: i32 = 54;
    pub(crate) const NOTEMPTY: i32 = 55;
    pub(crate) const NOTSOCK: i32 = 57;
    pub(crate) const NOTSUP: i32 = 58;
    pub(crate) const NXIO: i32 = 60;
    pub(crate) const PERM: i32 = 63;
    pub(crate) const PIPE: i32 = 64;
    pub(crate) const SPIPE: i32 = 70;
    pub(crate) const NOTCAPABLE: i32 = 76;
}

/// Flags of `path_open`.
pub(crate) const CREAT: i32 = 1;
pub(crate) const DIRECTORY: i32 = 2;
pub(crate) const EXCL: i32 = 4;
pub(crate) const TRUNC: i32 = 8;

/// Flags of descriptors.
pub(crate) const APPEND: i32 = 1;
pub(crate) const NONBLOCK: i32 = 4;

/// Rights.
pub(crate) const READ: i64 = 1 << 1;
pub(crate) const SEEK: i64 = 1 << 2;
pub(crate) const WRITE: i64 = 1 << 6;
pub(crate) const ALLOCATE: i64 = 1 << 8;
pub(crate) const SET_SIZE: i64 = 1 << 22;
pub(crate) const ALL: i64 = (1 << 30) - 1;

/// The module; one byte of memory beyond `pages` does not exist.
fn text(pages: u32) -> String {
    let mut text = String::new();
    let mut wrappers = String::new();
    for (name, params) in FUNCTIONS {
        let types: Vec<_> =
            params.chars().map(|param| if param == 'i' { "i32" } else { "i64" }).collect();
        let result = if name == "proc_exit" { "" } else { "(result i32)" };
        let ty = format!("(param {}) {result}", types.join(" "));
        text += &format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} {ty}))\n");
        let args: String = (0..types.len()).map(|i| format!("(local.get {i})")).collect();
        wrappers += &format!("(func (export \"{name}\") {ty} (call ${name} {args}))\n");
    }
    format!("(module {text} (memory (export \"memory\") {pages} {pages}) {wrappers})")
}

pub(crate) fn engine() -> Engine {
    Engine::new(Config::new().async_support(true)).unwrap()
}

/// Where what a test puts into the memory begins; addresses below stay 0.
const BOTTOM: u32 = 1024;

pub(crate) struct Guest {
    pub(crate) store: Store<WasiCtx>,
    instance: Instance,
    memory: Memory,
    top: u32,
}

impl Guest {
    pub(crate) async fn new(builder: &mut WasiCtxBuilder) -> Self {
        Self::with_pages(builder, 4).await
    }

    pub(crate) async fn with_pages(builder: &mut WasiCtxBuilder, pages: u32) -> Self {
        Self::with_engine(&engine(), builder, pages).await
    }

    pub(crate) async fn with_engine(
        engine: &Engine,
        builder: &mut WasiCtxBuilder,
        pages: u32,
    ) -> Self {
        let module = Module::new(engine, text(pages)).unwrap();
        let mut linker = Linker::new(engine);
        add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
        let mut store = Store::new(engine, builder.build());
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        Self { store, instance, memory, top: BOTTOM }
    }

    /// A guest that has a directory as descriptor 3 and may do everything in it.
    pub(crate) async fn in_dir(dir: &TempDir) -> Self {
        let mut builder = WasiCtxBuilder::new();
        let perms = (DirPerms::all(), FilePerms::all());
        builder.preopened_dir(dir.path(), "/", perms.0, perms.1).unwrap();
        Self::new(&mut builder).await
    }

    /// Calls a function; its answer is an error number, and 0 for none.
    pub(crate) async fn try_call(&mut self, name: &str, args: &[i64]) -> Result<i32, Trap> {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let params: Vec<ValType> = function.ty(&self.store).params().collect();
        assert_eq!(params.len(), args.len(), "{name}");
        let args = params.iter().zip(args).map(|(ty, &arg)| match ty {
            ValType::I32 => Val::I32(arg as i32),
            _ => Val::I64(arg),
        });
        let args: Vec<Val> = args.collect();
        let results = function.call_async(&mut self.store, &args).await.map_err(Trap::from)?;
        Ok(results[0].unwrap_i32())
    }

    pub(crate) async fn call(&mut self, name: &str, args: &[i64]) -> i32 {
        self.try_call(name, args).await.unwrap()
    }

    /// As `call`, with an error number as the error. What was put into memory is forgotten.
    pub(crate) async fn run(&mut self, name: &str, args: &[i64]) -> Result<(), i32> {
        self.top = BOTTOM;
        match self.call(name, args).await {
            0 => Ok(()),
            errno => Err(errno),
        }
    }

    /// Room for `len` bytes.
    pub(crate) fn room(&mut self, len: usize) -> i64 {
        let at = self.top;
        self.top += (len as u32).next_multiple_of(8);
        i64::from(at)
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> i64 {
        let at = self.room(bytes.len());
        self.write_at(at, bytes);
        at
    }

    pub(crate) fn write_at(&mut self, at: i64, bytes: &[u8]) {
        self.memory.write(&mut self.store, at as usize, bytes).unwrap();
    }

    pub(crate) fn bytes(&self, at: i64, len: usize) -> Vec<u8> {
        self.memory.data(&self.store)[at as usize..][..len].to_vec()
    }

    pub(crate) fn u32(&self, at: i64) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    pub(crate) fn u64(&self, at: i64) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    /// A list with one buffer.
    pub(crate) fn iovs(&mut self, buffers: &[(i64, usize)]) -> i64 {
        let mut list = Vec::new();
        for &(at, len) in buffers {
            list.extend((at as u32).to_le_bytes());
            list.extend((len as u32).to_le_bytes());
        }
        self.put(&list)
    }

    pub(crate) async fn open(
        &mut self,
        dir: i64,
        path: &str,
        oflags: i32,
        rights: i64,
    ) -> Result<i64, i32> {
        self.open_with(dir, path, oflags, rights, 0, 1).await
    }

    pub(crate) async fn open_with(
        &mut self,
        dir: i64,
        path: &str,
        oflags: i32,
        rights: i64,
        flags: i32,
        lookup: i64,
    ) -> Result<i64, i32> {
        let (at, out) = (self.put(path.as_bytes()), self.room(4));
        let (len, oflags) = (path.len() as i64, oflags.into());
        let args = [dir, lookup, at, len, oflags, rights, ALL, flags.into(), out];
        self.run("path_open", &args).await?;
        Ok(self.u32(out).into())
    }

    pub(crate) async fn write(&mut self, fd: i64, bytes: &[u8]) -> Result<usize, i32> {
        let at = self.put(bytes);
        let (iovs, out) = (self.iovs(&[(at, bytes.len())]), self.room(4));
        self.run("fd_write", &[fd, iovs, 1, out]).await?;
        Ok(self.u32(out) as usize)
    }

    pub(crate) async fn read(&mut self, fd: i64, len: usize) -> Result<Vec<u8>, i32> {
        let at = self.room(len);
        let (iovs, out) = (self.iovs(&[(at, len)]), self.room(4));
        self.run("fd_read", &[fd, iovs, 1, out]).await?;
        Ok(self.bytes(at, self.u32(out) as usize))
    }

    pub(crate) async fn pread(&mut self, fd: i64, len: usize, from: i64) -> Result<Vec<u8>, i32> {
        let at = self.room(len);
        let (iovs, out) = (self.iovs(&[(at, len)]), self.room(4));
        self.run("fd_pread", &[fd, iovs, 1, from, out]).await?;
        Ok(self.bytes(at, self.u32(out) as usize))
    }

    pub(crate) async fn pwrite(&mut self, fd: i64, bytes: &[u8], to: i64) -> Result<usize, i32> {
        let at = self.put(bytes);
        let (iovs, out) = (self.iovs(&[(at, bytes.len())]), self.room(4));
        self.run("fd_pwrite", &[fd, iovs, 1, to, out]).await?;
        Ok(self.u32(out) as usize)
    }

    pub(crate) async fn seek(&mut self, fd: i64, offset: i64, whence: i64) -> Result<u64, i32> {
        let out = self.room(8);
        self.run("fd_seek", &[fd, offset, whence, out]).await?;
        Ok(self.u64(out))
    }

    pub(crate) async fn tell(&mut self, fd: i64) -> Result<u64, i32> {
        let out = self.room(8);
        self.run("fd_tell", &[fd, out]).await?;
        Ok(self.u64(out))
    }

    pub(crate) async fn close(&mut self, fd: i64) -> Result<(), i32> {
        self.run("fd_close", &[fd]).await
    }

    /// A function that takes a descriptor and a path, and answers no more than an error.
    pub(crate) async fn at(&mut self, name: &str, dir: i64, path: &str) -> Result<(), i32> {
        let at = self.put(path.as_bytes());
        self.run(name, &[dir, at, path.len() as i64]).await
    }

    pub(crate) async fn rename(&mut self, from: (i64, &str), to: (i64, &str)) -> Result<(), i32> {
        let (old, new) = (self.put(from.1.as_bytes()), self.put(to.1.as_bytes()));
        let args = [from.0, old, from.1.len() as i64, to.0, new, to.1.len() as i64];
        self.run("path_rename", &args).await
    }

    pub(crate) async fn link(&mut self, from: (i64, &str), to: (i64, &str)) -> Result<(), i32> {
        self.link_with(0, from, to).await
    }

    pub(crate) async fn link_with(
        &mut self,
        lookup: i64,
        from: (i64, &str),
        to: (i64, &str),
    ) -> Result<(), i32> {
        let (old, new) = (self.put(from.1.as_bytes()), self.put(to.1.as_bytes()));
        let args = [from.0, lookup, old, from.1.len() as i64, to.0, new, to.1.len() as i64];
        self.run("path_link", &args).await
    }

    pub(crate) async fn symlink(&mut self, target: &str, dir: i64, path: &str) -> Result<(), i32> {
        let (old, new) = (self.put(target.as_bytes()), self.put(path.as_bytes()));
        let args = [old, target.len() as i64, dir, new, path.len() as i64];
        self.run("path_symlink", &args).await
    }

    pub(crate) async fn readlink(
        &mut self,
        dir: i64,
        path: &str,
        len: usize,
    ) -> Result<String, i32> {
        let (at, buffer, out) = (self.put(path.as_bytes()), self.room(len), self.room(4));
        let args = [dir, at, path.len() as i64, buffer, len as i64, out];
        self.run("path_readlink", &args).await?;
        Ok(String::from_utf8(self.bytes(buffer, self.u32(out) as usize)).unwrap())
    }

    /// The 64 bytes of a `filestat`, of a path.
    pub(crate) async fn stat(&mut self, dir: i64, path: &str, follow: bool) -> Result<Stat, i32> {
        let (at, out) = (self.put(path.as_bytes()), self.room(64));
        let args = [dir, follow.into(), at, path.len() as i64, out];
        self.run("path_filestat_get", &args).await?;
        Ok(self.stat_at(out))
    }

    pub(crate) async fn fstat(&mut self, fd: i64) -> Result<Stat, i32> {
        let out = self.room(64);
        self.run("fd_filestat_get", &[fd, out]).await?;
        Ok(self.stat_at(out))
    }

    fn stat_at(&self, at: i64) -> Stat {
        Stat {
            filetype: self.bytes(at + 16, 1)[0],
            links: self.u64(at + 24),
            size: self.u64(at + 32),
            accessed: self.u64(at + 40),
            modified: self.u64(at + 48),
        }
    }

    pub(crate) async fn set_times(
        &mut self,
        dir: i64,
        path: &str,
        times: (i64, i64, i64),
        lookup: i64,
    ) -> Result<(), i32> {
        let at = self.put(path.as_bytes());
        let args = [dir, lookup, at, path.len() as i64, times.0, times.1, times.2];
        self.run("path_filestat_set_times", &args).await
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) filetype: u8,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
}
