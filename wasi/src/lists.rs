//! Lists and strings that a guest gives, checked before anything is done with them.

use bytes::Bytes;
use wiggle::{GuestMemory, GuestPtr};

use crate::bindings::types::{Ciovec, CiovecArray, Errno, Iovec, IovecArray};
use crate::errno::Result;
use crate::limits::WasiLimits;

/// The buffers of a read or write, all of which lie in the guest's memory. They may overlap: bytes
/// are then written in the order of the list.
pub(crate) struct Buffers {
    parts: Vec<GuestPtr<[u8]>>,
    len: u32,
}

impl Buffers {
    pub(crate) fn to_fill(
        memory: &GuestMemory<'_>,
        iovs: IovecArray,
        limits: &WasiLimits,
    ) -> Result<Self> {
        limits.check_list(iovs.len())?;
        Self::new(
            memory,
            iovs.iter().map(|at| {
                let Iovec { buf, buf_len } = memory.read(at?)?;
                Ok(buf.as_array(buf_len))
            }),
        )
    }

    pub(crate) fn to_take(
        memory: &GuestMemory<'_>,
        iovs: CiovecArray,
        limits: &WasiLimits,
    ) -> Result<Self> {
        limits.check_list(iovs.len())?;
        Self::new(
            memory,
            iovs.iter().map(|at| {
                let Ciovec { buf, buf_len } = memory.read(at?)?;
                Ok(buf.as_array(buf_len))
            }),
        )
    }

    /// Checks all before anything is read or written, so that no byte of a stream is lost to a bad
    /// address.
    fn new(
        memory: &GuestMemory<'_>,
        buffers: impl Iterator<Item = Result<GuestPtr<[u8]>>>,
    ) -> Result<Self> {
        let mut parts = Vec::new();
        let mut len = 0_u32;
        for buffer in buffers {
            let buffer = buffer?;
            memory.as_slice(buffer)?;
            len = len.checked_add(buffer.len()).ok_or(Errno::Inval)?;
            parts.push(buffer);
        }
        Ok(Self { parts, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// What is behind the first `skip` bytes, at most `len` of it, as pieces of the parts.
    fn pieces(&self, skip: usize, len: usize) -> impl Iterator<Item = GuestPtr<[u8]>> {
        let (mut skip, mut left) = (skip as u32, u32::try_from(len).unwrap_or(u32::MAX));
        self.parts.iter().filter_map(move |part| {
            let start = skip.min(part.len());
            let end = part.len().min(start.saturating_add(left));
            skip -= start;
            left -= end - start;
            (start < end).then(|| part.get_range(start..end).expect("it lies in the part"))
        })
    }

    /// A copy of what is behind the first `skip` bytes, at most `len` of it.
    pub(crate) fn gather(
        &self,
        memory: &GuestMemory<'_>,
        skip: usize,
        len: usize,
    ) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(len.min(self.len().saturating_sub(skip)));
        for piece in self.pieces(skip, len) {
            bytes.extend_from_slice(&memory.as_cow(piece)?);
        }
        Ok(bytes.into())
    }

    /// Puts bytes behind the first `skip`.
    pub(crate) fn scatter(
        &self,
        memory: &mut GuestMemory<'_>,
        skip: usize,
        mut bytes: &[u8],
    ) -> Result<()> {
        for piece in self.pieces(skip, bytes.len()) {
            let (now, later) = bytes.split_at(piece.len() as usize);
            memory.copy_from_slice(now, piece)?;
            bytes = later;
        }
        Ok(())
    }
}

/// A path of the guest's.
pub(crate) fn path(
    memory: &GuestMemory<'_>,
    path: GuestPtr<str>,
    limits: &WasiLimits,
) -> Result<String> {
    if path.len() as usize > limits.path_length {
        return Err(Errno::Nametoolong.into());
    }
    let path = memory.as_cow_str(path)?.into_owned();
    if path.contains('\0') {
        return Err(Errno::Inval.into());
    }
    Ok(path)
}

/// Strings as `args_get` and `environ_get` give them: each ends with a zero, and a list tells where
/// each begins.
pub(crate) struct Strings(Vec<String>);

impl Strings {
    pub(crate) fn new(strings: Vec<String>) -> Self {
        Self(strings)
    }

    /// How many there are, and how many bytes they take.
    pub(crate) fn sizes(&self) -> Result<(u32, u32)> {
        let bytes = self.0.iter().map(|string| string.len() + 1).sum::<usize>();
        let fits = |n: usize| u32::try_from(n).map_err(|_| Errno::Overflow);
        Ok((fits(self.0.len())?, fits(bytes)?))
    }

    pub(crate) fn write(
        &self,
        memory: &mut GuestMemory<'_>,
        mut list: GuestPtr<GuestPtr<u8>>,
        mut buffer: GuestPtr<u8>,
    ) -> Result<()> {
        for string in &self.0 {
            let len = string.len() as u32;
            memory.write(list, buffer)?;
            memory.copy_from_slice(string.as_bytes(), buffer.as_array(len))?;
            memory.write(buffer.add(len)?, 0)?;
            list = list.add(1)?;
            buffer = buffer.add(len + 1)?;
        }
        Ok(())
    }
}
