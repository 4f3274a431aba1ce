//! Faults of a map whose file cannot be read: a bad block, or a file cut short.
//!
//! The kernel tells it by SIGBUS at the instruction that touched the page, which ends the process
//! unless a handler makes the page readable. Ours, installed with the first map, looks whether the
//! address lies in a map of ours. If so it notes the page as lost, puts a page of zeros in its place
//! and returns, and the instruction goes on. Readers ask [`Watch::lost`] after they read. For any
//! other address what was there before us is put back, and gets the signal.
//!
//! The handler takes no lock, allocates nothing, and calls nothing but `mmap`, `sigaction` and
//! `raise`. It finds maps in a list whose links never change once they are set and whose slots are
//! used again, never freed. `exec` sets a handler back to the default, so no build inherits it.

use std::io;
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// One map in the list of all.
#[derive(Debug)]
struct Slot {
    /// Odd while the addresses are being set: the handler passes over such a slot, which cannot be
    /// the one it looks for, as nobody can have touched a map that is not noted yet.
    turn: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    /// The stretch of addresses from the first page that was lost to the last.
    lost_from: AtomicUsize,
    lost_to: AtomicUsize,
    next: AtomicPtr<Slot>,
}

/// The newest slot of the list.
static LIST: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
/// Slots of the list that no map has. Whoever sets a slot or adds one holds this.
static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());
static PAGE: AtomicUsize = AtomicUsize::new(0);
/// What SIGBUS did before us; set when our handler is installed.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

fn free() -> MutexGuard<'static, Vec<&'static Slot>> {
    // Nothing in between can panic but an allocation, before anything is changed.
    FREE.lock().unwrap_or_else(|e| e.into_inner())
}

impl Slot {
    fn set(&self, range: Range<usize>) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.lost_from.store(usize::MAX, Ordering::Relaxed);
        self.lost_to.store(0, Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    /// The addresses, unless they are being set at this moment.
    fn get(&self) -> Option<Range<usize>> {
        let turn = self.turn.load(Ordering::Acquire);
        let range = self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (turn.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == turn).then_some(range)
    }

    /// Notes pages as lost. Comes before the zeros: who reads these will find the note.
    fn lose(&self, range: &Range<usize>) {
        self.lost_from.fetch_min(range.start, Ordering::SeqCst);
        self.lost_to.fetch_max(range.end, Ordering::SeqCst);
    }
}

/// A map that the handler knows, as long as this lives.
#[derive(Debug)]
pub(super) struct Watch(&'static Slot);

impl Watch {
    /// Makes a map known, which begins at the begin of a page. The map must stay where it is until
    /// this is dropped.
    pub fn new(map: &[u8]) -> io::Result<Watch> {
        install()?;
        let start = map.as_ptr() as usize;
        let mut free = free();
        let slot = match free.pop() {
            Some(slot) => slot,
            None => {
                let slot: &'static Slot = Box::leak(Box::new(Slot {
                    turn: AtomicUsize::new(0),
                    start: AtomicUsize::new(0),
                    end: AtomicUsize::new(0),
                    lost_from: AtomicUsize::new(usize::MAX),
                    lost_to: AtomicUsize::new(0),
                    next: AtomicPtr::new(LIST.load(Ordering::Relaxed)),
                }));
                LIST.store((slot as *const Slot).cast_mut(), Ordering::Release);
                slot
            }
        };
        let page = PAGE.load(Ordering::Relaxed);
        slot.set(start..start + map.len().next_multiple_of(page));
        Ok(Watch(slot))
    }

    /// The stretch of the map, in bytes from its begin, from the first page that was lost to the
    /// last. What was read before this call and lies outside is what the file has.
    pub fn lost(&self) -> Option<Range<usize>> {
        // What was read stays before this, in the program and in the processor.
        fence(Ordering::Acquire);
        let start = self.0.start.load(Ordering::Relaxed);
        let from = self.0.lost_from.load(Ordering::SeqCst);
        let to = self.0.lost_to.load(Ordering::SeqCst);
        (from < to).then(|| from - start..to - start)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut free = free();
        self.0.set(0..0);
        free.push(self.0);
    }
}

/// Installs the handler, once.
fn install() -> io::Result<()> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(|e| e.into_inner());
    if *done {
        return Ok(());
    }
    // SAFETY: sysconf has no precondition.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(page).ok().filter(|n| n.is_power_of_two());
    let page = page.ok_or_else(|| io::Error::other("the size of a page is not known"))?;
    PAGE.store(page, Ordering::Relaxed);
    // SAFETY: all zeros are a valid `sigaction` (default action, empty mask); the pointers are to
    // values of ours that live as long as the calls. The handler does only what a handler may (see
    // the top of this file), and what was before is known before it can run.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, null(), &mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        BEFORE.get_or_init(|| before);
        let mut ours: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
        ours.sa_sigaction = handler as usize;
        // On the stack for signals where a thread has one, as Rust's own handler needs it.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        if libc::sigaction(libc::SIGBUS, &ours, null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    *done = true;
    Ok(())
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel gives a valid `siginfo_t`; `si_addr` is set for these codes.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // A page that the file does not give, or memory that failed beneath it.
    let of_page = [libc::BUS_ADRERR, libc::BUS_OBJERR, libc::BUS_MCEERR_AR].contains(&code);
    if of_page && give_zeros(address) {
        return;
    }
    // SAFETY: `BEFORE` holds what the system gave us. Both calls may be made in a handler.
    unsafe {
        if let Some(before) = BEFORE.get() {
            libc::sigaction(signal, before, null_mut());
        }
        // A fault comes again when the instruction is tried again; other signals have to be sent.
        if !of_page && code != libc::BUS_ADRALN {
            libc::raise(signal);
        }
    }
}

/// Puts zeros in the place of a page of a map of ours. Tells whether it is one.
fn give_zeros(address: usize) -> bool {
    let mut at = LIST.load(Ordering::Acquire);
    // SAFETY: slots are leaked and never freed, and a link is set before its slot is in the list.
    while let Some(slot) = unsafe { at.as_ref() } {
        if let Some(range) = slot.get().filter(|range| range.contains(&address)) {
            let page = PAGE.load(Ordering::Relaxed);
            let from = address & !(page - 1);
            // Where a process may have no more stretches of memory, the whole map is one.
            return [from..from + page, range].into_iter().any(|pages| {
                slot.lose(&pages);
                zeros(&pages)
            });
        }
        at = slot.next.load(Ordering::Relaxed);
    }
    false
}

fn zeros(pages: &Range<usize>) -> bool {
    // SAFETY: the pages belong to a map that is noted in a slot, so that it is only read, through
    // `Map`, and not unmapped while somebody reads it. They begin and end at pages. `mmap` is one
    // system call, which a handler may make; the interrupted code finds its `errno` as it was.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let done = libc::mmap(
            pages.start as *mut libc::c_void,
            pages.end - pages.start,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
        *errno = before;
        done != libc::MAP_FAILED
    }
}
