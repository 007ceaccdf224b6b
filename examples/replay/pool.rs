//! Work on several threads at a time, told in order.
//!
//! Each piece has a thread of its own: what is drawn at random there does not depend on the pieces before. A piece that is
//! done early waits until those before it are told, so that the output is the same whatever the number of threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

/// Does pieces `0..count` of the work, at most `jobs` at a time, and tells the results in order. Stops when `tell` says false.
///
/// # Errors
///
/// The first error of a piece or of `tell`, or that a piece panicked: after what is before it has been told, and the pieces
/// under way are done.
pub(crate) fn in_order<T: Send>(
    count: usize,
    jobs: usize,
    work: impl Fn(usize) -> Result<T, String> + Sync,
    mut tell: impl FnMut(T) -> Result<bool, String>,
) -> Result<(), String> {
    let (send, receive) = mpsc::channel();
    let mut early = BTreeMap::new();
    let (mut begun, mut done, mut told) = (0, 0, 0);
    std::thread::scope(|scope| {
        while told < count {
            while begun < count && begun - done < jobs.max(1) {
                let (piece, work, send) = (begun, &work, send.clone());
                scope.spawn(move || {
                    let found = catch_unwind(AssertUnwindSafe(|| work(piece)));
                    // Nobody listens any more once an error is told.
                    let _ = send.send((piece, found));
                });
                begun += 1;
            }
            let Ok((piece, found)) = receive.recv() else { break };
            done += 1;
            early.insert(piece, found);
            while let Some(found) = early.remove(&told) {
                told += 1;
                let found = found.map_err(|_| "a panic".to_owned())?;
                if !tell(found?)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Runs 40 pieces, and has what was told, and the most that were under way at a time.
    fn run(jobs: usize) -> (Vec<usize>, usize) {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut told = Vec::new();
        let work = |piece| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Later pieces are shorter, so some are done early.
            (0..(40 - piece) * 200).for_each(|_| std::thread::yield_now());
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(piece)
        };
        in_order(40, jobs, work, |piece| {
            told.push(piece);
            Ok(true)
        })
        .expect("no piece fails");
        (told, most.into_inner())
    }

    #[test]
    fn the_order_is_the_same_whatever_the_number_of_threads() {
        for jobs in [0, 1, 2, 3, 100] {
            let (told, most) = run(jobs);
            assert_eq!(told, (0..40).collect::<Vec<_>>(), "{jobs} jobs");
            assert!(most <= jobs.max(1), "{most} at a time, {jobs} jobs");
        }
    }

    #[test]
    fn a_piece_done_early_waits_and_pieces_run_side_by_side() {
        // Piece 0 ends only after piece 1 has begun: with one thread this would never end.
        let barrier = Barrier::new(2);
        let mut told = Vec::new();
        let work = |piece| {
            barrier.wait();
            Ok(piece)
        };
        in_order(2, 2, work, |piece| {
            told.push(piece);
            Ok(true)
        })
        .expect("no piece fails");
        assert_eq!(told, [0, 1]);
    }

    #[test]
    fn errors_panics_and_a_stop_end_it_in_their_turn() {
        for jobs in [1, 4] {
            let mut told = Vec::new();
            let mut ask = |bad: fn(usize) -> Result<usize, String>, stop: usize| {
                told.clear();
                let end = in_order(10, jobs, bad, |piece| {
                    told.push(piece);
                    Ok(piece != stop)
                });
                (end, told.clone())
            };
            let fails = |piece| if piece == 3 { Err("three".to_owned()) } else { Ok(piece) };
            assert_eq!(ask(fails, 99), (Err("three".to_owned()), vec![0, 1, 2]));
            assert_eq!(ask(fails, 1), (Ok(()), vec![0, 1]));
            let panics = |piece| if piece == 2 { panic!("on purpose") } else { Ok(piece) };
            assert_eq!(ask(panics, 99), (Err("a panic".to_owned()), vec![0, 1]));
        }
        let end = in_order(3, 1, Ok, |_: usize| Err("no room".to_owned()));
        assert_eq!(end, Err("no room".to_owned()));
        assert_eq!(in_order(0, 1, Ok, |_: usize| Ok(true)), Ok(()));
    }
}
