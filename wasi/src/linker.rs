//! The functions of preview 1, as a linker has them.

use std::time::Duration;

use anyhow::Result;
use lampwick::{Caller, Linker, Trap};
use wiggle::{GuestError, GuestMemory};

use crate::bindings::types::Error;
use crate::bindings::wasi_snapshot_preview1 as preview1;
use crate::ctx::WasiCtx;
use crate::pace;

/// Defines each function: its name, and its parameters as WebAssembly has them. `$busy`
/// tells what the guest took of processors.
macro_rules! define {
    ($linker:ident, $ctx:ident, $busy:path, $answer:path; $($name:ident($($arg:ident: $ty:ty),*);)*) => { $(
        $linker.func_wrap_async(
            "wasi_snapshot_preview1",
            stringify!($name),
            move |mut caller: Caller<'_, T>, ($($arg,)*): ($($ty,)*)| {
                Box::new(async move {
                    pace::call().await;
                    let memory = caller.get_export("memory").and_then(|it| it.into_memory());
                    let memory = memory.ok_or_else(|| Trap::new(concat!(
                        "a guest that exports no memory named `memory` called `",
                        stringify!($name),
                        "`",
                    )))?;
                    let busy = $busy(&caller);
                    // The guest waits for the answer, so that its memory neither grows nor moves.
                    let (bytes, data) = memory.data_and_store_mut(&mut caller);
                    let mut bytes = GuestMemory::Unshared(bytes);
                    let ctx = $ctx(data);
                    ctx.clocks.busy = busy;
                    $answer(preview1::$name(ctx, &mut bytes, $($arg),*).await)
                })
            },
        )?;
    )* };
}

/// Tells a guest what is wrong with its numbers and addresses, as with all else; only what is no
/// error of preview 1 is a trap.
fn told(result: Result<i32>) -> Result<i32, Trap> {
    let error = match result {
        Ok(errno) => return Ok(errno),
        Err(error) => error.downcast::<GuestError>().map_err(Trap::from)?,
    };
    let errno = Error::from(error).downcast().map_err(Trap::from)?;
    Ok(errno as i32)
}

/// For functions that do not tell the time on processors: to look at that clock takes a while, too.
fn unasked<T>(_: &Caller<'_, T>) -> Option<Duration> {
    None
}

fn ended(result: Result<()>) -> Result<(), Trap> {
    result.map_err(Trap::from)
}

/// Defines the 46 functions of `wasi_snapshot_preview1`. `ctx` finds a program's context in the
/// data of its store.
///
/// The functions need a tokio runtime around the call of the guest, with its timer and I/O enabled.
/// What blocks is done by its blocking pool; a guest that waits is suspended. Dropping the call's
/// future ends the wait; what is on the pool by then ends by itself, and nobody sees its result.
///
/// What a guest does wrong it is told as an error number. `proc_exit` ends the call with
/// [`I32Exit`](crate::I32Exit).
///
/// # Errors
///
/// Fails if one of the names is taken, unless
/// [shadowing](lampwick::Linker::allow_shadowing) is allowed.
///
/// # Panics
///
/// Panics if the linker's engine is not async.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    ctx: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    define! { linker, ctx, Caller::busy, told;
        clock_res_get(id: i32, resolution: i32);
        clock_time_get(id: i32, precision: i64, time: i32);
    }
    define! { linker, ctx, unasked, told;
        args_get(argv: i32, buffer: i32);
        args_sizes_get(count: i32, size: i32);
        environ_get(environ: i32, buffer: i32);
        environ_sizes_get(count: i32, size: i32);
        fd_advise(fd: i32, offset: i64, len: i64, advice: i32);
        fd_allocate(fd: i32, offset: i64, len: i64);
        fd_close(fd: i32);
        fd_datasync(fd: i32);
        fd_fdstat_get(fd: i32, stat: i32);
        fd_fdstat_set_flags(fd: i32, flags: i32);
        fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64);
        fd_filestat_get(fd: i32, stat: i32);
        fd_filestat_set_size(fd: i32, size: i64);
        fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, flags: i32);
        fd_pread(fd: i32, iovs: i32, len: i32, offset: i64, count: i32);
        fd_prestat_get(fd: i32, stat: i32);
        fd_prestat_dir_name(fd: i32, path: i32, len: i32);
        fd_pwrite(fd: i32, iovs: i32, len: i32, offset: i64, count: i32);
        fd_read(fd: i32, iovs: i32, len: i32, count: i32);
        fd_readdir(fd: i32, buffer: i32, len: i32, cookie: i64, size: i32);
        fd_renumber(from: i32, to: i32);
        fd_seek(fd: i32, offset: i64, whence: i32, position: i32);
        fd_sync(fd: i32);
        fd_tell(fd: i32, position: i32);
        fd_write(fd: i32, iovs: i32, len: i32, count: i32);
        path_create_directory(fd: i32, path: i32, len: i32);
        path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, stat: i32);
        path_filestat_set_times(
            fd: i32, flags: i32, path: i32, len: i32, atim: i64, mtim: i64, which: i32
        );
        path_link(
            old_fd: i32, flags: i32, old_path: i32, old_len: i32,
            new_fd: i32, new_path: i32, new_len: i32
        );
        path_open(
            fd: i32, follow: i32, path: i32, len: i32, how: i32,
            base: i64, inheriting: i64, flags: i32, opened: i32
        );
        path_readlink(fd: i32, path: i32, len: i32, buffer: i32, size: i32, count: i32);
        path_remove_directory(fd: i32, path: i32, len: i32);
        path_rename(
            old_fd: i32, old_path: i32, old_len: i32, new_fd: i32, new_path: i32, new_len: i32
        );
        path_symlink(target: i32, target_len: i32, fd: i32, path: i32, len: i32);
        path_unlink_file(fd: i32, path: i32, len: i32);
        poll_oneoff(subscriptions: i32, events: i32, len: i32, count: i32);
        proc_raise(signal: i32);
        sched_yield();
        random_get(buffer: i32, len: i32);
        sock_accept(fd: i32, flags: i32, accepted: i32);
        sock_recv(fd: i32, iovs: i32, len: i32, flags: i32, count: i32, about: i32);
        sock_send(fd: i32, iovs: i32, len: i32, flags: i32, count: i32);
        sock_shutdown(fd: i32, how: i32);
    }
    define! { linker, ctx, unasked, ended;
        proc_exit(status: i32);
    }
    Ok(())
}
