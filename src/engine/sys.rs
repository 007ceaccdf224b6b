//! The only calls to the system: the barrier that spares readers their fences, the clock that the kernel keeps, a hint to the
//! cache.
//!
//! **Problem.** A reader announces itself with a store, then loads; a writer unlinks with a store, then looks whether a reader
//! has announced itself. On every processor a store may still be on its way while the load behind it is done, so both need a
//! fence between the two: 5 ns, as much as all the rest of a hit. But writers look once in hundreds of removals. So the writer
//! pays for both: it has the kernel run a fence on every processor that runs a thread of this process.
//!
//! ```text
//!   reader           announce; (compiler fence); load           about 0.5 ns
//!   writer           unlink;   membarrier();     look           microseconds, with other threads running
//!
//!   without it       announce; fence;            load           about 6 ns
//!                    unlink;   fence;            look
//! ```
//!
//! Source: M. Desnoyers, *membarrier(2)*, Linux 4.14, 2017; the idea is that of asymmetric Dekker synchronisation (D. Dice,
//! H. Huang, M. Yang, 2001).

use crate::sync::{Ordering, fence};

/// Whether readers may leave their fences to [`heavy_barrier`]. Chosen once, before the first pin, and never changed: a reader
/// and a writer of different minds would see neither's fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fences {
    /// The writer fences for all.
    Writer,
    /// Everybody fences.
    Everyone,
}

/// What this process can have. Calls the system.
pub(crate) fn fences() -> Fences {
    if membarrier::register() { Fences::Writer } else { Fences::Everyone }
}

/// Every thread of this process has had a full fence, at some moment between call and return. False if the system would
/// not do it, which it had promised: then nothing may be concluded.
pub(crate) fn heavy_barrier(fences: Fences) -> bool {
    fence(Ordering::SeqCst);
    fences == Fences::Everyone || membarrier::barrier()
}

// Not under the interpreter, a model, or the thread sanitizer: none of them knows this call.
#[cfg(all(target_os = "linux", not(any(miri, cachette_loom, cachette_tsan))))]
mod membarrier {
    #![expect(unsafe_code, reason = "a system call")]

    const REGISTER: libc::c_int = libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    const BARRIER: libc::c_int = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED;

    fn call(command: libc::c_int) -> bool {
        // SAFETY: the call takes numbers alone, and changes no memory of this process.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn register() -> bool {
        call(REGISTER)
    }

    pub(super) fn barrier() -> bool {
        // A child of `fork` is another process, and must register again.
        call(BARRIER) || (call(REGISTER) && call(BARRIER))
    }
}

#[cfg(not(all(target_os = "linux", not(any(miri, cachette_loom, cachette_tsan)))))]
mod membarrier {
    pub(super) const fn register() -> bool {
        false
    }

    pub(super) const fn barrier() -> bool {
        false
    }
}

/// Nanoseconds on one of the system's clocks.
#[cfg(all(target_os = "linux", not(any(miri, cachette_loom))))]
#[expect(unsafe_code, reason = "a system call")]
#[inline]
fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is here.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if failed == 0 { nanos(time) } else { None }
}

/// Nanoseconds on the system's monotonic clock, as of its last tick, which may [lie back](lag); `None` where the system keeps no
/// such clock. About 3 ns.
#[cfg(all(target_os = "linux", not(any(miri, cachette_loom))))]
#[inline]
pub(crate) fn coarse() -> Option<u64> {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

#[cfg(not(all(target_os = "linux", not(any(miri, cachette_loom)))))]
pub(crate) const fn coarse() -> Option<u64> {
    None
}

/// Nanoseconds on the same clock, precise. About 25 ns.
#[cfg(all(target_os = "linux", not(any(miri, cachette_loom))))]
pub(crate) fn precise() -> Option<u64> {
    read(libc::CLOCK_MONOTONIC)
}

#[cfg(not(all(target_os = "linux", not(any(miri, cachette_loom)))))]
pub(crate) const fn precise() -> Option<u64> {
    None
}

/// How far the last tick may lie back: two ticks, since one may come late.
#[cfg(all(target_os = "linux", not(any(miri, cachette_loom))))]
#[expect(unsafe_code, reason = "a system call")]
pub(crate) fn lag() -> Option<u64> {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which is here.
    let failed = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    if failed == 0 { Some(nanos(tick)? * 2) } else { None }
}

#[cfg(not(all(target_os = "linux", not(any(miri, cachette_loom)))))]
pub(crate) const fn lag() -> Option<u64> {
    None
}

#[cfg(all(target_os = "linux", not(any(miri, cachette_loom))))]
fn nanos(time: libc::timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u64::try_from(time.tv_nsec).ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}

/// Asks for the cache line at `place` ahead of its use. Only a hint: `place` need not be readable.
#[inline]
#[cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(unsafe_code, reason = "an instruction that has no safe name")
)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

#[cfg(all(test, target_os = "linux", not(any(miri, cachette_loom))))]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_behind_the_precise_one() {
        let coarse = coarse().unwrap();
        let precise = precise().unwrap();
        assert!(coarse <= precise, "{coarse} {precise}");
    }

    #[test]
    fn a_barrier_can_be_had() {
        let fences = fences();
        assert!(heavy_barrier(fences));
        assert!(heavy_barrier(Fences::Everyone));
    }
}
