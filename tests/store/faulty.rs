//! A store that fails, stalls and lies on command, around one that does not.

use cachette::store::{Answer, Change, Store};
use std::collections::VecDeque;
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// What happens to a call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is done.
    None,
    /// It is not done, and fails for now.
    Down,
    /// It is not done, for good.
    Refuse,
    /// It is done, and the answer is lost.
    LateDown,
    /// It is not done, and success is told of.
    Lie,
    Panic,
    /// It waits for the gate, and is done then.
    Stall,
    /// It never ends.
    Hang,
    /// It is done, and answered for one change too few.
    Miscount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Down,
    Refused,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Trouble {}

/// A change that was asked for.
pub(crate) type Asked = (u64, Option<String>, u64);

#[derive(Default)]
struct State {
    /// What happens next; then nothing, or `always`.
    plan: VecDeque<Fault>,
    always: Option<Fault>,
    /// What happens whenever this key is in a batch.
    poison: Option<(u64, Fault)>,
    /// Batches, as they were asked for.
    batches: Vec<Vec<Asked>>,
    loads: Vec<u64>,
    fail_loads: bool,
    open: bool,
    waiting: Vec<Waker>,
}

pub(crate) struct Faulty {
    inner: Box<dyn Table>,
    state: Mutex<State>,
}

/// What never fails.
pub(crate) trait Table: Send + Sync {
    fn load(&self, key: u64) -> Option<String>;
    fn change(&self, change: Change<'_, u64, String>);
}

impl<S: Store<u64, String, Error: fmt::Debug>> Table for S {
    fn load(&self, key: u64) -> Option<String> {
        now(Store::load(self, &key)).unwrap()
    }

    fn change(&self, change: Change<'_, u64, String>) {
        now(self.apply(change)).unwrap();
    }
}

/// What a future gives that does not suspend.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

impl Faulty {
    pub(crate) fn new(inner: impl Table + 'static) -> Arc<Self> {
        Arc::new(Self { inner: Box::new(inner), state: Mutex::default() })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().plan.extend(faults);
    }

    pub(crate) fn always(&self, fault: Option<Fault>) {
        self.state().always = fault;
    }

    pub(crate) fn fail_loads(&self, fail: bool) {
        self.state().fail_loads = fail;
    }

    pub(crate) fn poison(&self, key: u64, fault: Fault) {
        self.state().poison = Some((key, fault));
    }

    /// Lets go on what stalls, and what will.
    pub(crate) fn open(&self) {
        let waiting = {
            let mut state = self.state();
            state.open = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn get(&self, key: u64) -> Option<String> {
        self.inner.load(key)
    }

    pub(crate) fn batches(&self) -> Vec<Vec<Asked>> {
        self.state().batches.clone()
    }

    /// Keys and values that were asked for, in their order.
    pub(crate) fn asked(&self) -> Vec<(u64, Option<String>)> {
        let batches = self.batches();
        batches.into_iter().flatten().map(|(key, value, _)| (key, value)).collect()
    }

    pub(crate) fn loads(&self) -> Vec<u64> {
        self.state().loads.clone()
    }

    fn fault(&self, changes: &[Change<'_, u64, String>]) -> Fault {
        let mut state = self.state();
        let asked = changes.iter().map(|it| (*it.key, it.value.cloned(), it.version));
        state.batches.push(asked.collect());
        let poison = state.poison.filter(|(key, _)| changes.iter().any(|it| it.key == key));
        let planned = poison.map(|(_, fault)| fault).or_else(|| state.plan.pop_front());
        planned.or(state.always).unwrap_or(Fault::None)
    }

    fn gate(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.open {
            return Poll::Ready(());
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }

    async fn suffer(&self, changes: &[Change<'_, u64, String>]) -> Result<Fault, Trouble> {
        let fault = self.fault(changes);
        match fault {
            Fault::Down => return Err(Trouble::Down),
            Fault::Refuse => return Err(Trouble::Refused),
            Fault::Panic => std::panic::panic_any("the store panics on purpose"),
            Fault::Hang => pending().await,
            Fault::Stall => poll_fn(|context| self.gate(context)).await,
            _ => {}
        }
        if fault != Fault::Lie {
            changes.iter().for_each(|change| self.inner.change(*change));
        }
        if fault == Fault::LateDown { Err(Trouble::Down) } else { Ok(fault) }
    }
}

impl Store<u64, String> for Faulty {
    type Error = Trouble;

    fn refused(&self, error: &Trouble) -> bool {
        *error == Trouble::Refused
    }

    fn load<'a>(&'a self, key: &'a u64) -> Answer<'a, Result<Option<String>, Trouble>> {
        self.state().loads.push(*key);
        let fails = self.state().fail_loads;
        Box::pin(async move { if fails { Err(Trouble::Down) } else { Ok(self.inner.load(*key)) } })
    }

    fn apply<'a>(&'a self, change: Change<'a, u64, String>) -> Answer<'a, Result<(), Trouble>> {
        Box::pin(async move { self.suffer(&[change]).await.map(|_| ()) })
    }

    fn apply_batch<'a>(
        &'a self,
        changes: &'a [Change<'a, u64, String>],
    ) -> Answer<'a, Result<Vec<Result<(), Trouble>>, Trouble>> {
        Box::pin(async move {
            // One key alone may fail: the others are done.
            let poisoned = self.state().poison.filter(|(_, fault)| *fault == Fault::LateDown);
            if let Some((poisoned, _)) = poisoned {
                self.state().batches.push(
                    changes.iter().map(|it| (*it.key, it.value.cloned(), it.version)).collect(),
                );
                let each = changes.iter().map(|change| {
                    if *change.key == poisoned {
                        return Err(Trouble::Down);
                    }
                    self.inner.change(*change);
                    Ok(())
                });
                return Ok(each.collect());
            }
            let fault = self.suffer(changes).await?;
            let answers = changes.len() - usize::from(fault == Fault::Miscount);
            Ok(vec![Ok(()); answers])
        })
    }
}
