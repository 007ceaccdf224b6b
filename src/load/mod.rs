//! Loads: `get_or_load`, one flight a key.
//!
//! A miss leads a load or joins the one under way. Who leads runs the loader; the others wait, threads and tasks on one list
//! of wakers. A blocking load is the asynchronous load whose loader never suspends, so there is one code for both.
//!
//! ```text
//!   miss ─► begin: one lock ─┬─ resident by now ──────────────► its value
//!                            ├─ a mark under the key ─► join ─► its value, or its error,
//!                            │                                  or begin again if it was abandoned
//!                            └─ nothing ─► leave a mark: lead
//!                                             │ run the loader, no lock held
//!                                             ▼
//!                            land: publish if and only if the mark is still there
//! ```
//!
//! Of many keys asked for at once (`many`), each begins by itself; one call of the loader answers all that are led, and only when
//! these have landed are the joined ones waited for.
//!
//! Every write of the key takes the mark away, so a load that began before the write cannot publish after it, and who comes
//! after the write begins a load of their own.

#[cfg(not(cachette_loom))]
mod assemble;
#[cfg(not(cachette_loom))]
mod batch;
#[cfg(not(cachette_loom))]
mod bell;
mod block;
#[cfg(not(cachette_loom))]
mod fetch;
mod flight;
#[cfg(not(cachette_loom))]
mod lead;
#[cfg(not(cachette_loom))]
mod loaded;
#[cfg(not(cachette_loom))]
mod loading;
#[cfg(not(cachette_loom))]
mod many;
#[cfg(not(cachette_loom))]
mod offload;
#[cfg(not(cachette_loom))]
mod refresh;
#[cfg(not(cachette_loom))]
mod source;
#[cfg(not(cachette_loom))]
mod spawn;
#[cfg(not(cachette_loom))]
mod threads;
#[cfg(not(cachette_loom))]
mod timer;
#[cfg(all(feature = "tokio", not(cachette_loom)))]
mod tokio;
mod waits;
#[cfg(not(cachette_loom))]
mod warm;

#[cfg(all(feature = "tokio", not(cachette_loom)))]
pub use tokio::{NoRuntime, Tokio};
#[cfg(not(cachette_loom))]
pub use {
    assemble::{Backoff, LoadingBuilder},
    batch::Batch,
    lead::Outcome,
    loaded::{Loaded, Origin},
    loading::LoadingCache,
    source::{Old, Reload},
    spawn::{Spawn, Task},
    threads::Threads,
    warm::Warmed,
};
#[cfg(not(cachette_loom))]
pub(crate) use {
    bell::Bell,
    block::block_on,
    lead::Ticket,
    loading::WeakLoading,
    offload::offload,
    source::{Answers, Source, Why},
    warm::side_by_side,
};
