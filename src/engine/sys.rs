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
    use crate::sync::{AtomicUsize, compiler_fence, thread};
    use crossbeam_utils::CachePadded;

    #[test]
    fn the_coarse_clock_is_behind_the_precise_one() {
        let lag = lag().unwrap();
        let near = |_: &i32| {
            let before = precise().unwrap();
            let coarse = coarse().unwrap();
            let after = precise().unwrap();
            assert!(before <= after && coarse <= after, "{before} {coarse} {after}");
            before <= coarse + lag
        };
        // A machine that was halted for a while may have missed its ticks.
        assert!((0..1000).filter(near).count() > 900);
    }

    #[test]
    #[expect(unsafe_code, reason = "system calls")]
    fn what_the_kernel_offers_is_used() {
        let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes one `timespec`, which is here.
        let known = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
        assert_eq!(lag(), (known == 0).then(|| 2 * nanos(tick).unwrap()));
        // SAFETY: the call takes numbers alone.
        let offers =
            unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) };
        let expedited = libc::c_long::from(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        let has = cfg!(not(cachette_tsan)) && offers >= 0 && offers & expedited != 0;
        assert_eq!(fences(), if has { Fences::Writer } else { Fences::Everyone });
    }

    #[test]
    fn seconds_and_nanoseconds_make_one_number() {
        assert_eq!(nanos(libc::timespec { tv_sec: 3, tv_nsec: 5 }), Some(3_000_000_005));
        assert_eq!(nanos(libc::timespec { tv_sec: -1, tv_nsec: 5 }), None);
    }

    /// In a process of its own, where nothing has registered.
    #[test]
    fn a_barrier_registers_where_nobody_has() {
        const CHILD: &str = "CACHETTE_TEST_UNREGISTERED";
        if std::env::var_os(CHILD).is_some() {
            assert!(membarrier::barrier());
            return;
        }
        if fences() == Fences::Writer {
            let name = "engine::sys::tests::a_barrier_registers_where_nobody_has";
            let program = std::env::current_exe().unwrap();
            let child = std::process::Command::new(program)
                .args([name, "--exact"])
                .env(CHILD, "1")
                .output();
            let child = child.unwrap();
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
            assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
        }
    }

    #[test]
    fn a_barrier_can_be_had() {
        let fences = fences();
        assert!(heavy_barrier(fences));
        assert!(heavy_barrier(Fences::Everyone));
    }

    /// The readers' half of the picture above, on real processors: where both have looked, one has seen the other.
    #[test]
    fn either_sees_the_other() {
        const ROUNDS: usize = 3_000;
        let round = AtomicUsize::new(0);
        let announced: [_; 2] = std::array::from_fn(|_| CachePadded::new(AtomicUsize::new(0)));
        let [reader, writer] = &announced;
        let fences = fences();
        let join = |round: &AtomicUsize, at: usize| {
            round.fetch_add(1, Ordering::SeqCst);
            for spins in 0.. {
                if round.load(Ordering::SeqCst) >= at * 2 {
                    break;
                }
                if spins > 1_000 {
                    thread::yield_now();
                }
            }
        };
        let announce = |mine: &AtomicUsize, at| mine.store(at, Ordering::Release);
        let (seen_by_reader, seen_by_writer) = thread::scope(|scope| {
            let reads = scope.spawn(|| {
                let rounds = (1..=ROUNDS).map(|at| {
                    join(&round, at);
                    announce(reader, at);
                    match fences {
                        Fences::Writer => compiler_fence(Ordering::SeqCst),
                        Fences::Everyone => fence(Ordering::SeqCst),
                    }
                    writer.load(Ordering::Acquire) == at
                });
                rounds.collect::<Vec<_>>()
            });
            let rounds = (1..=ROUNDS).map(|at| {
                join(&round, at);
                announce(writer, at);
                assert!(heavy_barrier(fences));
                reader.load(Ordering::Acquire) == at
            });
            let writes = rounds.collect::<Vec<_>>();
            (reads.join().unwrap(), writes)
        });
        let blind = seen_by_reader.iter().zip(&seen_by_writer).filter(|(r, w)| !**r && !**w);
        assert_eq!(blind.count(), 0);
    }
}
