//! Views of files: the one place in the crate with unsafe code.

use std::fmt;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memmap2::{Mmap, MmapOptions};

/// The bytes of a file from its start, as a live shared map or as a copy in memory.
///
/// A clone is cheap and shows the same bytes. A map stays readable after the file is removed.
///
/// What is written to a file after its map was made shows through a live map up to the length that
/// was mapped, and never through a copy. [`Map::covers`] tells whether a view is enough.
///
/// Where a live map has lost a page, because another program has cut the file short or the disk
/// cannot read it, zeros are read in its place, and [`Map::is_lost`] says so.
#[derive(Clone)]
pub struct Map {
    view: Arc<View>,
    /// Where it is looked after, when it is live; here, too, as each record that is read asks.
    place: Option<&'static Place>,
}

/// Bytes of a line of the processor's cache.
const LINE_BYTES: usize = 64;

enum View {
    Live(Live),
    Copy(Vec<u8>),
}

impl Map {
    /// A view of these bytes, for storages that are no real disk.
    ///
    /// ```
    /// use runledger::storage::Map;
    /// let map = Map::from_vec(vec![1, 2, 3]);
    /// assert_eq!(map.as_slice(), [1, 2, 3]);
    /// assert!(map.covers(3) && !map.covers(4));
    /// ```
    #[must_use]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { view: Arc::new(View::Copy(bytes)), place: None }
    }

    /// Maps the first `len` bytes of a file, which may be more than it has: those that are not
    /// there yet are not to be read. Pages wholly past its end raise SIGBUS when they are, and the
    /// map is taken for one that has lost them.
    #[expect(unsafe_code, reason = "a shared map can be had in no other way")]
    pub(super) fn live(file: &fs::File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self::from_vec(Vec::new()));
        }
        // Before there is a map there is someone who looks after it.
        catch_lost_pages();
        // SAFETY: `Mmap` gives out `&[u8]`, so bytes that someone reads must not change meanwhile,
        // and pages must not vanish.
        //
        // - Within this crate both hold for every byte that is read. Writers only write past the
        //   end that they have published, readers only read before it, so a byte is written before
        //   it is read and never after, also one that was not in the file yet when it was mapped.
        //   A file is cut short in one place, recovery, under the writer's lock: it cuts bytes past
        //   the last whole frame, which no reader has been given.
        //   Removing or renaming a file leaves its pages mapped.
        // - Another process that reads the segment meanwhile follows the same protocol, and takes
        //   its end from checksums: bytes that it sees half-written fail them and are not believed.
        // - A program outside this crate that cuts a segment short, and a disk that fails with EIO,
        //   take pages away. Whoever reads one is given zeros for it by `on_fault`, and the map is
        //   marked: what was read is looked at as bytes that can be anything, and is not given out
        //   unless the mark is still missing after it was read.
        // - Against a program that overwrites a segment in place, while bytes whose checksum was
        //   compared are read, nothing helps. Segments are private to the ledger.
        let map = unsafe { MmapOptions::new().len(len).map(file)? };
        let place = Registry::enter(map.as_ptr().addr(), map.len());
        Ok(Self { view: Arc::new(View::Live(Live { map, place })), place: Some(place) })
    }

    /// True when a page of a live map was lost: some of what was read may have been zeros that are
    /// not in the file. It is to be asked after the bytes were read.
    #[must_use]
    #[inline]
    pub fn is_lost(&self) -> bool {
        // What was read was read before.
        fence(Ordering::Acquire);
        IS_ANY_LOST.load(Ordering::Relaxed)
            && self.place.is_some_and(|place| place.is_lost.load(Ordering::Relaxed))
    }

    /// The bytes. Past what has been written, a file's preallocated bytes read as zero.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &*self.view {
            View::Live(live) => &live.map,
            View::Copy(bytes) => bytes,
        }
    }

    /// Has the processor fetch so many bytes that lie at `at`, which are read soon. Nothing is read
    /// by that, and no page is made present.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize, len: usize) {
        let bytes = self.as_slice().get(at..).unwrap_or_default();
        bytes.chunks(LINE_BYTES).take(len.div_ceil(LINE_BYTES)).for_each(prefetch);
    }

    /// True when the bytes below `end` are seen through this view: a live map when it is that long,
    /// as later writes show through it; a copy when that many bytes were copied.
    ///
    /// So that this tells the truth of a copy, a storage that copies must copy no more bytes than
    /// it was asked for: the ones after them may still be written.
    #[must_use]
    pub fn covers(&self, end: usize) -> bool {
        end <= self.as_slice().len()
    }
}

/// Has the processor fetch the line of its cache in which the bytes begin.
#[cfg(target_arch = "x86_64")]
#[inline]
#[expect(unsafe_code, reason = "the instruction takes an address")]
pub(crate) fn prefetch(line: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint. It changes nothing that a program can see, and an address that
    // is not mapped is no fault of it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
}

/// Elsewhere there is no such instruction in stable Rust, and lines come when they are read.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const fn prefetch(_: &[u8]) {}

/// A map that is looked after while it lives.
struct Live {
    map: Mmap,
    place: &'static Place,
}

impl Drop for Live {
    fn drop(&mut self) {
        // Before the memory is given back and may become someone else's.
        Registry::leave(self.place);
    }
}

/// Where a live map lies, for the handler of faults, which may take no lock and no memory.
struct Place {
    /// Its first address; 0 for none.
    start: AtomicUsize,
    end: AtomicUsize,
    is_lost: AtomicBool,
}

/// How many places are made at a time.
const PLACES: usize = 64;

/// Places that stay for as long as the process lives; those of maps that are gone are used again.
struct Places {
    places: [Place; PLACES],
    next: OnceLock<&'static Self>,
}

static PLACES_IN_USE: Places = Places::new();

/// True once any map has lost a page. Mostly none has, and then nobody looks at the place of a map:
/// in many segments that is to wait for one more line of memory in each.
static IS_ANY_LOST: AtomicBool = AtomicBool::new(false);

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { free: Vec::new(), last: None });

/// Who gives out places. The handler does without it.
struct Registry {
    free: Vec<&'static Place>,
    last: Option<&'static Places>,
}

impl Places {
    const fn new() -> Self {
        let places = [const {
            Place {
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                is_lost: AtomicBool::new(false),
            }
        }; PLACES];
        Self { places, next: OnceLock::new() }
    }
}

impl Registry {
    fn enter(start: usize, len: usize) -> &'static Place {
        let place = Self::locked(Self::take_free);
        place.is_lost.store(false, Ordering::SeqCst);
        // The start last: with it, the place is there.
        place.end.store(start + len, Ordering::SeqCst);
        place.start.store(start, Ordering::SeqCst);
        place
    }

    fn leave(place: &'static Place) {
        place.start.store(0, Ordering::SeqCst);
        Self::locked(|registry| registry.free.push(place));
    }

    fn locked<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        work(&mut REGISTRY.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_free(&mut self) -> &'static Place {
        loop {
            if let Some(place) = self.free.pop() {
                return place;
            }
            let more: &'static Places = match self.last {
                None => &PLACES_IN_USE,
                Some(last) => last.next.get_or_init(|| Box::leak(Box::new(Places::new()))),
            };
            self.last = Some(more);
            self.free.extend(&more.places);
        }
    }
}

impl Place {
    /// True when the address lies in the map that is here. A map in which a fault happens cannot go
    /// meanwhile, as the thread that waits for the handler has it; others come and go, and of one
    /// that does so between the two looks at its start nothing is believed.
    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::SeqCst);
        start != 0
            && start <= address
            && address < self.end.load(Ordering::SeqCst)
            && self.start.load(Ordering::SeqCst) == start
    }

    fn of(address: usize) -> Option<&'static Self> {
        let mut places = Some(&PLACES_IN_USE);
        while let Some(Places { places: some, next }) = places {
            if let Some(place) = some.iter().find(|place| place.holds(address)) {
                return Some(place);
            }
            places = next.get().copied();
        }
        None
    }
}

/// What was to be done on SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// Has `on_fault` called on SIGBUS, from the first map on.
#[expect(unsafe_code, reason = "no safe wrapper offers a handler that is told the address")]
fn catch_lost_pages() {
    BEFORE.get_or_init(|| {
        PAGE_BYTES.store(rustix::param::page_size(), Ordering::Relaxed);
        // SAFETY: a `sigaction` is plain data, for which all zeros are a value: no handler, no
        // flags, no signals blocked.
        let (mut before, mut ours) =
            unsafe { std::mem::zeroed::<(libc::sigaction, libc::sigaction)>() };
        ours.sa_sigaction = on_fault as *const () as usize;
        // On the thread's own signal stack, where it has one: the handler before may count on it.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both point to values of that type for as long as the call lasts. The handler has
        // the signature that SA_SIGINFO asks for, and does nothing that a handler must not: it
        // reads atomics and calls `mmap`. Nothing is mapped that needs it before `BEFORE` is set.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const ours, &raw mut before) };
        before
    });
}

/// Gives a thread that reads a page which a live map has lost zeros in its place, and marks the
/// map. Any other fault is left to whoever was there before.
#[expect(unsafe_code, reason = "a signal's handler is called by the operating system")]
extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the system passes a valid `siginfo_t`, and for SIGBUS, unless another
    // process sent it, its address is set.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    let is_fault = [libc::BUS_ADRERR, libc::BUS_OBJERR, libc::BUS_MCEERR_AR].contains(&code);
    if is_fault && let Some(place) = Place::of(address) {
        let bytes = PAGE_BYTES.load(Ordering::Relaxed);
        // The marks first: who sees the zeros sees them, too.
        place.is_lost.store(true, Ordering::SeqCst);
        IS_ANY_LOST.store(true, Ordering::SeqCst);
        // SAFETY: the page lies in a live map, which the thread that stopped here has, so that it
        // stays mapped until this returns; the map is never written through, and its bytes are read
        // as ones that may change until they were compared. What takes the page's place is as
        // readable, is private, and goes when the map is unmapped. `mmap` takes no lock of the
        // process and leaves `errno` alone when it succeeds.
        let zeros = unsafe {
            libc::mmap(
                std::ptr::without_provenance_mut(address - address % bytes),
                bytes,
                libc::PROT_READ,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Does what would have been done without `on_fault`.
#[expect(unsafe_code, reason = "a handler can be called in no other way")]
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get().filter(|before| {
        before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN
    });
    match before {
        // SAFETY: the system kept this address as that of a handler with the signature that its
        // flags tell, and it is called as the system would have.
        Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => unsafe {
            type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            let handler: Handler = std::mem::transmute(before.sa_sigaction);
            handler(signal, info, context);
        },
        // SAFETY: as above.
        Some(before) => unsafe {
            let handler: extern "C" fn(i32) = std::mem::transmute(before.sa_sigaction);
            handler(signal);
        },
        // SAFETY: the call is allowed in a handler. The fault happens again when this returns, and
        // ends the process, as it does without a handler.
        None => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &*self.view {
            View::Live(_) => "live",
            View::Copy(_) => "copy",
        };
        write!(f, "Map({form}, {} bytes)", self.as_slice().len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn file_of(bytes: usize) -> fs::File {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![7; bytes], 0).unwrap();
        file
    }

    #[test]
    fn a_page_that_is_gone_reads_as_zeros_and_marks_its_map_alone() {
        let (file, other) = (file_of(40_000), file_of(40_000));
        let map = Map::live(&file, 40_000).unwrap();
        let unharmed = Map::live(&other, 40_000).unwrap();
        file.set_len(5000).unwrap();
        assert_eq!(map.as_slice()[4999], 7);
        assert!(!map.is_lost(), "nothing was read that is not there");
        assert_eq!(map.as_slice()[39_999], 0);
        assert!(map.is_lost());
        assert_eq!((map.as_slice()[20_000], map.as_slice()[10]), (0, 7));
        assert_eq!(unharmed.as_slice()[39_999], 7);
        assert!(!unharmed.is_lost());
        assert!(map.clone().is_lost());
        drop(map);
        // The place is used again, without its mark.
        assert!(!Map::live(&other, 40_000).unwrap().is_lost());
    }

    #[test]
    fn what_is_fetched_ahead_may_lie_at_the_end_beyond_it_or_be_gone() {
        let file = file_of(40_000);
        let map = Map::live(&file, 40_000).unwrap();
        file.set_len(5000).unwrap();
        for at in [0, 4999, 20_000, 39_999, 40_000, usize::MAX] {
            map.prefetch(at, 3 * LINE_BYTES);
        }
        assert!(!map.is_lost(), "a hint reads nothing");
        Map::from_vec(Vec::new()).prefetch(0, 1);
    }

    #[test]
    fn maps_that_come_and_go_beside_faults_are_told_apart() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let (file, whole) = (file_of(9000), file_of(9000));
                        let map = Map::live(&file, 9000).unwrap();
                        let unharmed: Vec<_> =
                            (0..40).map(|_| Map::live(&whole, 9000).unwrap()).collect();
                        file.set_len(0).unwrap();
                        assert_eq!(map.as_slice()[8999], 0);
                        assert!(map.is_lost());
                        assert!(unharmed.iter().all(|map| map.as_slice()[8999] == 7));
                        assert!(!unharmed.iter().any(Map::is_lost));
                    }
                });
            }
        });
    }

    /// The fault of a map that is not one of the crate's ends the process, as it did before.
    #[test]
    #[expect(unsafe_code, reason = "a map of someone else")]
    fn a_fault_elsewhere_is_passed_on() {
        const CHILD: &str = "RUNLEDGER_TEST_FAULT";
        if std::env::var_os(CHILD).is_some() {
            let (file, own) = (file_of(9000), file_of(9000));
            let _map = Map::live(&own, 9000).unwrap();
            // SAFETY: the file is cut on purpose, to see the fault.
            let map = unsafe { MmapOptions::new().len(9000).map(&file).unwrap() };
            file.set_len(0).unwrap();
            std::process::exit(map[8999].into());
        }
        let name = "storage::map::tests::a_fault_elsewhere_is_passed_on";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let status = child.args(["--exact", name]).env(CHILD, "1").output().unwrap().status;
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
    }
}
