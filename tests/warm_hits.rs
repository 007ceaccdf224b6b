//! A hit on a warm key writes nothing that is shared: with all that a cache has allocated write-protected it does not fault, and
//! its machine code has no locked instruction.
//!
//! What the cache allocates while it is built and filled goes to an arena of its own. What a thread needs of its own (its
//! record of pins, its cell of statistics) is allocated elsewhere, at its first read.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![expect(unsafe_code, reason = "an allocator, and pages that are write-protected")]

use cachette::policy::{Lru, SampledLru, Sieve};
use cachette::{Cache, ManualClock};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hash::BuildHasher;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::SeqCst};
use std::thread;

const ARENA: usize = 64 << 20;

/// An allocator that serves threads which ask for it from an arena, where nothing is ever freed.
struct Split;

static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static USED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static TO_ARENA: Cell<bool> = const { Cell::new(false) };
}

#[global_allocator]
static ALLOCATOR: Split = Split;

impl Split {
    fn holds(place: *mut u8) -> bool {
        let start = START.load(SeqCst).addr();
        start != 0 && (start..start + ARENA).contains(&place.addr())
    }
}

// SAFETY: places in the arena are handed out once, aligned and within it; all others are the system's.
unsafe impl GlobalAlloc for Split {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !TO_ARENA.get() {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        }
        let at = USED.fetch_add(layout.size() + layout.align(), SeqCst);
        let at = at.next_multiple_of(layout.align());
        if at + layout.size() > ARENA {
            return ptr::null_mut();
        }
        START.load(SeqCst).wrapping_add(at)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if !Self::holds(place) {
            // SAFETY: as the caller promises; it came from the system.
            unsafe { System.dealloc(place, layout) };
        }
    }
}

/// Runs `f` with the arena for what this thread allocates.
fn in_arena<T>(f: impl FnOnce() -> T) -> T {
    if START.load(SeqCst).is_null() {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, anywhere.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), ARENA, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert!(start != libc::MAP_FAILED);
        START.store(start.cast(), SeqCst);
    }
    TO_ARENA.set(true);
    let made = f();
    TO_ARENA.set(false);
    made
}

fn protect(protection: libc::c_int) {
    // SAFETY: the mapping is this program's own; who writes to it while it is protected is to be found out.
    let failed = unsafe { libc::mprotect(START.load(SeqCst).cast(), ARENA, protection) };
    assert_eq!(failed, 0);
}

const KEYS: u64 = 10_000;

fn read_all<S: BuildHasher>(cache: &Cache<u64, u64, S>, view: &cachette::Pinned<'_, u64, u64, S>) {
    for key in 0..KEYS {
        assert_eq!(cache.get(&key), Some(key));
        assert_eq!(cache.get_with(&key, |value| *value), Some(key));
        assert_eq!(cache.peek(&key), Some(key));
        assert!(cache.contains_key(&key));
        assert_eq!(view.get(&key), Some(&key));
    }
    let keys: Vec<u64> = (0..KEYS).collect();
    assert!(cache.get_many(&keys).into_iter().eq((0..KEYS).map(Some)));
    assert!(view.get_many(&keys).into_iter().eq(keys.iter().map(Some)));
}

/// What is done while the cache is write-protected.
fn run(case: &str) {
    let cache = in_arena(|| {
        let builder = Cache::<u64, u64>::builder().capacity(20_000).segments(4);
        let builder = match case {
            "ordered" => builder.policy(Lru::new),
            // The second does not change: a stamp is what it was.
            "stamped" => builder.policy(SampledLru::new).clock(ManualClock::new()),
            _ => builder.policy(Sieve::new),
        };
        let cache = Box::new(builder.build().unwrap());
        (0..=KEYS).for_each(|key| cache.put(key, key));
        cache
    });
    let turns = Barrier::new(2);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let view = cache.pin();
            read_all(&cache, &view);
            turns.wait();
            turns.wait();
            match case {
                "hits" | "stamped" | "ordered" => read_all(&cache, &view),
                "put" => cache.put(1, 2),
                // This key was never read: its counter can count.
                "cold" => assert_eq!(cache.get(&KEYS), Some(KEYS)),
                other => panic!("{other}"),
            }
            turns.wait();
            turns.wait();
        });
        let view = cache.pin();
        read_all(&cache, &view);
        turns.wait();
        protect(libc::PROT_READ);
        turns.wait();
        if matches!(case, "hits" | "stamped") {
            read_all(&cache, &view);
        }
        turns.wait();
        protect(libc::PROT_READ | libc::PROT_WRITE);
        turns.wait();
        reader.join().unwrap();
    });
    assert_eq!(cache.stats().misses, 0);
}

/// Runs one case in a process of its own, and says by what signal it died, if it did.
fn signal_of(case: &str) -> Option<i32> {
    let this = std::env::current_exe().unwrap();
    let mut child = Command::new(this);
    let child = child.args(["--exact", "a_case", "--ignored", "--nocapture"]).env("CASE", case);
    let output = child.output().unwrap();
    let signal = output.status.signal();
    assert!(signal.is_some() || output.status.success(), "{case}: {output:?}");
    signal
}

#[test]
#[ignore = "the tests below run it, in a process of its own"]
fn a_case() {
    // The other thread waits for this one: a panic must end both.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    run(&std::env::var("CASE").unwrap());
}

#[test]
fn r2_a_warm_hit_writes_nothing_that_is_shared() {
    for case in ["hits", "stamped"] {
        assert_eq!(signal_of(case), None, "{case}");
    }
}

#[test]
fn r2_what_writes_is_found_out() {
    for case in ["put", "cold", "ordered"] {
        assert_eq!(signal_of(case), Some(libc::SIGSEGV), "{case}");
    }
}

/// One warm hit, to be looked at as machine code.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cachette_one_get(cache: &Cache<u64, u64>, key: u64) -> u64 {
    cache.get(&key).unwrap_or(u64::MAX)
}

/// In an optimised build alone: what is not inlined is not the hit's path.
#[test]
#[cfg_attr(debug_assertions, ignore = "for an optimised build")]
fn r2_a_hit_has_no_locked_instruction() {
    let cache = Cache::<u64, u64>::new(10);
    cache.put(1, 2);
    assert_eq!(cachette_one_get(&cache, 1), 2);
    // What a hit does not call, by a part of its name: a thread's first pin, the locked search, the making of a segment, and what
    // is done to tell a policy.
    let cold = [
        "panic",
        "5first",
        "find_locked",
        "4note",
        "tell_miss",
        "missed_unmade",
        "Stripes$LT$K$C$V$C$F$GT$4make",
        "expiry_of_read",
        "_Unwind",
        "fail",
        "resume",
    ];
    let (mut open, mut seen) = (vec!["cachette_one_get".to_string()], Vec::new());
    let mut lines = 0;
    while let Some(function) = open.pop() {
        let Some(code) = disassembled(&function) else {
            println!("SKIP: objdump is not here");
            return;
        };
        assert_unlocked(&code);
        lines += code.lines().count();
        let calls = code.lines().filter_map(called);
        let hot = calls.filter(|name| !cold.iter().any(|cold| name.contains(cold)));
        let new: Vec<_> = hot.filter(|name| *name != function && !seen.contains(name)).collect();
        open.extend(new);
        println!("checked: {function}");
        seen.push(function);
    }
    assert!(lines > 100, "{lines}");
}

/// What a line of machine code calls, or goes on to, of this program's functions.
fn called(line: &str) -> Option<String> {
    let (_, target) = line.split_once("call").or_else(|| line.split_once("jmp"))?;
    let (name, _) = target.split_once('<')?.1.split_once('>')?;
    (!target.contains('*') && !name.contains('+')).then(|| name.to_string())
}

/// The machine code of a function of this program, as text.
fn disassembled(function: &str) -> Option<String> {
    let this = std::env::current_exe().unwrap();
    let mut objdump = Command::new("objdump");
    objdump.arg("--no-show-raw-insn").arg(format!("--disassemble={function}"));
    let output = objdump.arg(this).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn assert_unlocked(code: &str) {
    for line in code.lines() {
        let exchanges = line.contains("xchg") && line.contains('(');
        // A fence, as a locked nothing on the thread's own stack: the branch for systems without `membarrier`.
        let fence = line.contains("lock orl $0x0,") && line.ends_with("(%rsp)");
        assert!(fence || !line.contains("lock ") && !exchanges, "{line} in\n{code}");
    }
}
