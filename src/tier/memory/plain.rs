//! A node without faults: what is there where the test kit is not.

use super::super::remote::{Mode, RemoteError};

/// Nothing ever fails.
#[derive(Clone, Default)]
pub(super) struct Node;

/// An operation.
pub(super) enum Op {
    Read,
    Heads,
    Write,
    Delete,
    Numbers,
    SetNumber,
    Lock,
    Scan,
    Listen,
}

impl Node {
    pub(super) fn new(_: u64) -> Self {
        Self
    }

    #[expect(clippy::unused_async, reason = "with faults, it waits")]
    pub(super) async fn pass<T>(
        &self,
        _: Op,
        _: usize,
        act: impl FnOnce() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        act()
    }

    /// Who can be told of every change need not say what was read.
    pub(super) fn offers(&self, mode: Mode) -> bool {
        mode != Mode::OptIn
    }

    #[expect(clippy::unnecessary_wraps, reason = "with faults, there may be no line")]
    pub(super) fn is_silent(&self) -> Result<bool, RemoteError> {
        Ok(false)
    }

    pub(super) fn number(&self) -> u64 {
        0
    }

    pub(super) fn connection(&self) -> u64 {
        0
    }
}
