//! What a program sees of the system.

use rand::RngCore;
use wiggle::{GuestMemory, GuestPtr};

use crate::bindings::types::{Errno, Error, Fd, Fdflags, Rights, Signal};
use crate::clocks::Clocks;
use crate::errno::Result;
use crate::exit::I32Exit;
use crate::file::blocking;
use crate::limits::WasiLimits;
use crate::lists::Strings;
use crate::pace;
use crate::table::{Descriptor, Kind, Table};

/// What one program sees of the system: its arguments, environment, descriptors, clocks and random
/// numbers. Made by a [`WasiCtxBuilder`](crate::WasiCtxBuilder), and kept in the store's data.
///
/// It belongs to one store: a second program gets one of its own. Dropping it closes all that the
/// program left open.
pub struct WasiCtx {
    pub(crate) args: Strings,
    pub(crate) env: Strings,
    pub(crate) table: Table,
    pub(crate) clocks: Clocks,
    pub(crate) random: Box<dyn RngCore + Send + Sync>,
    pub(crate) limits: WasiLimits,
}

impl std::fmt::Debug for WasiCtx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasiCtx").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl WasiCtx {
    pub(crate) async fn close(&mut self, fd: Fd) -> Result<()> {
        let descriptor = self.table.remove(fd)?;
        Self::end(descriptor).await;
        Ok(())
    }

    pub(crate) async fn renumber(&mut self, from: Fd, to: Fd) -> Result<()> {
        if let Some(closed) = self.table.renumber(from, to)? {
            Self::end(closed).await;
        }
        Ok(())
    }

    /// Closes what was a descriptor. Closing a file may take as long as writing what was left.
    async fn end(descriptor: Descriptor) {
        if matches!(descriptor.kind, Kind::File(_) | Kind::Directory(_)) {
            // It only fails where the runtime ends, and drops it.
            let _ = blocking(move || {
                drop(descriptor);
                Ok(())
            })
            .await;
        }
    }

    pub(crate) fn set_rights(&mut self, fd: Fd, base: Rights, inheriting: Rights) -> Result<()> {
        let descriptor = self.table.get_mut(fd)?;
        if !descriptor.base.contains(base) || !descriptor.inheriting.contains(inheriting) {
            return Err(Errno::Notcapable.into());
        }
        descriptor.base = base;
        descriptor.inheriting = inheriting;
        Ok(())
    }

    /// The name of a directory that was there at the start.
    pub(crate) fn preopened(&self, fd: Fd) -> Result<&str> {
        match &self.table.get(fd)?.kind {
            Kind::Directory(directory) => directory.preopened_as.as_deref(),
            _ => None,
        }
        // By this programs find where such directories end.
        .ok_or_else(|| Errno::Badf.into())
    }

    pub(crate) async fn accept(&mut self, fd: Fd, flags: Fdflags) -> Result<Fd> {
        self.table.check_room()?;
        let descriptor = self.table.get_mut(fd)?;
        let nonblocking = descriptor.is_nonblocking();
        let allowed = descriptor.require(Rights::SOCK_ACCEPT);
        let Kind::Listener(listener) = &mut descriptor.kind else {
            return Err(Errno::Notsock.into());
        };
        allowed?;
        if flags.intersects(!Fdflags::NONBLOCK) {
            return Err(Errno::Inval.into());
        }
        let stream = listener.accept(nonblocking).await?;
        let mut accepted = Descriptor::new(Kind::Stream(stream), crate::perms::OF_SOCKETS);
        accepted.flags = flags;
        self.table.insert(accepted)
    }

    /// Fills a guest's buffer, in parts between which others may run.
    pub(crate) async fn fill_random(
        &mut self,
        memory: &mut GuestMemory<'_>,
        buffer: GuestPtr<[u8]>,
    ) -> Result<()> {
        memory.as_slice(buffer)?;
        let part = self.limits.buffered_bytes.max(1).min(buffer.len() as usize);
        let mut bytes = vec![0; part];
        let mut done = 0;
        while done < buffer.len() {
            let end = buffer.len().min(done.saturating_add(part as u32));
            let bytes = &mut bytes[..(end - done) as usize];
            self.random.fill_bytes(bytes);
            let range = buffer.get_range(done..end).ok_or(Errno::Fault)?;
            memory.copy_from_slice(bytes, range)?;
            done = end;
            pace::bytes(bytes.len()).await;
        }
        Ok(())
    }
}

/// What a signal does to a program that raises it and handles none.
pub(crate) fn raise(signal: Signal) -> Result<()> {
    match signal {
        Signal::None | Signal::Chld | Signal::Cont | Signal::Urg | Signal::Winch => Ok(()),
        Signal::Stop | Signal::Tstp | Signal::Ttin | Signal::Ttou => Err(Errno::Notsup.into()),
        signal => Err(Error::trap(exit(128 + i32::from(signal as u8)))),
    }
}

/// The end of a program.
pub(crate) fn exit(status: i32) -> anyhow::Error {
    I32Exit::new(status).into()
}
