//! Making memory what it was at first, in proportion to the pages that were touched.
//!
//! Giving a page back and getting it anew with the next touch costs several times what filling it
//! does. So where few pages of a range are there at all, they are filled and stay. Which ones are
//! there the kernel tells (`PAGEMAP_SCAN`, Linux 6.7); a small memory that was so before is filled
//! as a whole, without asking.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use super::image::MemoryImage;

/// The most pages of a range that stay: what an idle memory may hold of the system's.
const MAX_KEPT: usize = 16;

/// The most bytes that are filled as a whole, two pages of wasm: as dear as the system call, but no
/// other thread has to wait for it.
const MAX_FILLED: usize = 128 << 10;

const PAGE: usize = 4096;

/// A memory that is to start anew.
#[derive(Clone, Copy)]
pub(super) struct Used<'a> {
    /// The memory's first byte.
    pub(super) base: *mut u8,
    /// So many bytes are accessible, a multiple of [`PAGE`].
    pub(super) len: usize,
    /// What the memory started with, where that was not zero.
    pub(super) image: Option<&'a MemoryImage>,
}

impl Used<'_> {
    /// Makes the pages that may hold something what they were at first, and answers whether it did:
    /// if not, because these are many or the kernel does not tell, only some of them are.
    ///
    /// `fills` is whether all pages may stay, however many: a small memory is then filled as a whole.
    ///
    /// # Safety
    ///
    /// The bytes must be a private mapping's, of the image where there is one and else of nothing;
    /// and nobody else may be using them.
    pub(super) unsafe fn restore(self, fills: bool) -> bool {
        if self.len == 0 {
            return true;
        }
        if fills && self.image.is_none() && self.len <= MAX_FILLED {
            // SAFETY: by contract.
            unsafe { self.fill_all() };
            return true;
        }
        let Some(scanner) = Scanner::of_this_process() else { return false };
        let mut regions = [Region::default(); MAX_KEPT];
        let start = self.base.addr();
        let Ok(count) = scanner.scan(start, self.len, &mut regions) else { return false };
        for region in &regions[..count] {
            let (from, to) = (region.start as usize - start, region.end as usize - start);
            // SAFETY: the kernel answers parts of the range; the rest is the caller's.
            unsafe { self.fill(from..to) };
        }
        true
    }

    /// Fills a memory without an image with zeros.
    ///
    /// # Safety
    ///
    /// As for [`Self::restore`].
    unsafe fn fill_all(self) {
        // In parts that take ordinary stores. One instruction for all would be no faster, and
        // callgrind, by which CI finds instances that became dearer, would count each byte.
        const PART: usize = 2048;
        for start in (0..self.len).step_by(PART) {
            // SAFETY: by contract; the length is one of whole pages.
            unsafe { self.base.add(start).write_bytes(0, black_box(PART)) };
        }
    }

    /// What the image says of a part of the memory, if it says anything of the whole.
    fn initial(&self, part: Range<usize>) -> Option<&[u8]> {
        let image = self.image.filter(|image| image.range.start <= part.start)?;
        image.bytes().get(part.start - image.range.start..part.end - image.range.start)
    }

    /// # Safety
    ///
    /// The part must be one of the memory's, of whole pages; the rest as for [`Self::restore`].
    pub(super) unsafe fn fill(&self, part: Range<usize>) {
        let image = self.image.map_or(0..0, |image| image.range.clone());
        let start = image.start.clamp(part.start, part.end);
        let end = image.end.clamp(start, part.end);
        // SAFETY: by contract; all three are parts of the part.
        unsafe {
            self.base.add(part.start).write_bytes(0, start - part.start);
            if let Some(initial) = self.initial(start..end) {
                self.base.add(start).copy_from_nonoverlapping(initial.as_ptr(), initial.len());
            }
            self.base.add(end).write_bytes(0, part.end - end);
        }
    }
}

/// `struct page_region` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of the kernel.
#[repr(C)]
#[derive(Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// Asks the kernel about this process's pages.
struct Scanner {
    pagemap: File,
    /// True in the process that opened the file, and false in its children, to whom the file would
    /// tell of their parent's pages: the kernel wipes the page when it copies a process.
    is_ours: NonNull<AtomicBool>,
}

// SAFETY: the flag is atomic, and never unmapped.
unsafe impl Send for Scanner {}
// SAFETY: as above.
unsafe impl Sync for Scanner {}

impl Scanner {
    /// The scanner, if it can be had and is this process's own.
    fn of_this_process() -> Option<&'static Self> {
        static SCANNER: OnceLock<Option<Scanner>> = OnceLock::new();
        let scanner = SCANNER.get_or_init(|| Self::new().ok()).as_ref()?;
        // SAFETY: the flag is never unmapped.
        unsafe { scanner.is_ours.as_ref() }.load(Relaxed).then_some(scanner)
    }

    fn new() -> io::Result<Self> {
        let pagemap = File::open("/proc/self/pagemap")?;
        // SAFETY: a fresh mapping overlaps nothing; it is zero, which is a valid flag.
        let is_ours = unsafe {
            let flags = ProtFlags::READ | ProtFlags::WRITE;
            let page = mm::mmap_anonymous(ptr::null_mut(), PAGE, flags, MapFlags::PRIVATE)?;
            mm::madvise(page, PAGE, Advice::LinuxWipeOnFork)?;
            NonNull::new(page.cast::<AtomicBool>()).expect("mmap answers no null")
        };
        // SAFETY: as above.
        unsafe { is_ours.as_ref() }.store(true, Relaxed);
        Ok(Self { pagemap, is_ours })
    }

    /// The pages of a range that may hold something. Answers how many regions they are.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot tell, or if there are more than [`MAX_KEPT`] pages.
    fn scan(
        &self,
        start: usize,
        len: usize,
        regions: &mut [Region; MAX_KEPT],
    ) -> io::Result<usize> {
        let end = (start + len) as u64;
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            start: start as u64,
            end,
            regions: regions.as_mut_ptr() as u64,
            regions_len: MAX_KEPT as u64,
            max_pages: MAX_KEPT as u64,
            // Present or swapped out, but neither the page of zeros nor a page of the image, which
            // is what reading maps.
            category_inverted: PAGE_IS_PFNZERO | PAGE_IS_FILE,
            category_mask: PAGE_IS_PFNZERO | PAGE_IS_FILE,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT,
            ..ScanArguments::default()
        };
        // SAFETY: the kernel writes to the arguments and to at most as many regions as there are.
        let count =
            unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut arguments) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // It stops early where there are as many pages as it may tell of.
        if arguments.walk_end != end || count > MAX_KEPT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Touches pages of a fresh mapping of 64, and clears it. Answers whether that worked.
    fn cleared(touched: &[usize]) -> bool {
        const LEN: usize = 64 * PAGE;
        // SAFETY: the mapping is fresh and ours until it is unmapped.
        unsafe {
            let flags = ProtFlags::READ | ProtFlags::WRITE;
            let start = mm::mmap_anonymous(ptr::null_mut(), LEN, flags, MapFlags::PRIVATE).unwrap();
            let base = start.cast::<u8>();
            // Reading maps the page of zeros.
            assert_eq!(base.add(63 * PAGE).read_volatile(), 0);
            touched.iter().for_each(|page| base.add(page * PAGE + 77).write_volatile(0xaa));
            let used = Used { base, len: LEN, image: None };
            let cleared = used.restore(false);
            let bytes = std::slice::from_raw_parts(base, LEN);
            let is_zero = bytes.iter().all(|&byte| byte == 0);
            mm::munmap(start, LEN).unwrap();
            assert!(is_zero || !cleared, "{touched:?}");
            cleared
        }
    }

    #[test]
    fn few_pages_are_cleared_and_many_are_left() {
        if Scanner::of_this_process().is_none() {
            println!("the kernel does not tell which pages are there");
            return;
        }
        assert!(cleared(&[]));
        assert!(cleared(&[0, 1, 2, 7, 40, 62]));
        assert!(cleared(&(0..15).map(|page| page * 3).collect::<Vec<_>>()));
        assert!(!cleared(&(0..60).collect::<Vec<_>>()));
        assert!(!cleared(&(0..17).map(|page| page * 3).collect::<Vec<_>>()));
    }

    #[test]
    fn a_forked_process_does_not_ask_about_its_parent() {
        let Some(_) = Scanner::of_this_process() else { return };
        // SAFETY: the child only looks at a flag and ends.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(Scanner::of_this_process().is_some()));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        };
        assert_eq!(status, 0);
    }
}
