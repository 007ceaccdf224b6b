//! Remotes that break a law each.

use cachette::Task;
use cachette::tier::{
    Claim, Delete, Ear, Found, HEAD, Listen, MemoryRemote, Mode, Page, Place, Read, Remote,
    RemoteError, Reply, Tell, Token, Turn, Write,
};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    NoneButBlocks,
    GrantsTwice,
    HeldForNoTime,
    HeldForEver,
    ReadsTakeLeases,
    ClaimsTakeLeasesOfValues,
    InsteadAlways,
    InsteadNever,
    InsteadByVersion,
    InsteadOfPadded,
    InsteadDeletes,
    NoTimeLeft,
    FullTimeLeft,
    NoToken,
    AnyToken,
    EndsOthersLease,
    KeepsOwnLease,
    KeepsOwnLeaseIfRejected,
    WriteKeepsLease,
    NoVersion,
    FloatVersions,
    ShortVersions,
    SignedVersions,
    TextVersions,
    EqualStays,
    UnversionedStays,
    KeepsTtl,
    NoTtl,
    WholeSeconds,
    CutsValueAtZero,
    CutsLongValue,
    EmptyIsNothing,
    TellsIfNotWritten,
    WriteTellsNobody,
    DeletionKeepsLease,
    NeverDeletes,
    UnlessIgnored,
    UnlessHigher,
    UnlessFloat,
    UnlessKeepsLease,
    FalseWhereIsNothing,
    TellsOnlyOfWhatWasThere,
    NamesEndAtZero,
    NamesEndAtLine,
    NamesAreLowered,
    NamesAreCut,
    PadsHeads,
    ReadsReversed,
    WritesReversed,
    DeletesReversed,
    HeadsReversed,
    RefusesNothing,
    NumbersAlwaysFresh,
    FloatNumbers,
    NumbersLiveOn,
    NumbersNotKept,
    SetIgnored,
    SetForEver,
    SetTellsNobody,
    AnyoneFrees,
    AnyoneExtends,
    ManyTake,
    ExtendsNothing,
    FreesNothing,
    OnePage,
    PagesByOffset,
    EverythingMatches,
    NoClasses,
    NoEscapes,
    AliveTooEarly,
    OneNameAPush,
    AnyPrefix,
    UpTwice,
    AliveFirst,
    OtherMode,
    MessagesTwice,
    MessagesReversed,
    MessagesCutAtZero,
    OneMessageABatch,
    NeverEnds,
    TellsOfWritesAlone,
    TellsOfANameOnce,
}

/// Each of them, and a law that must find it.
#[rustfmt::skip]
pub(crate) const BREACHES: &[(Breach, &str)] = &[
    (Breach::GrantsTwice, "a_claim_is_granted_once"),
    (Breach::HeldForNoTime, "a_claim_is_granted_once"),
    (Breach::HeldForEver, "a_claim_is_granted_once"),
    (Breach::ReadsTakeLeases, "only_a_claim_takes_a_lease"),
    (Breach::ClaimsTakeLeasesOfValues, "only_a_claim_takes_a_lease"),
    (Breach::InsteadAlways, "a_claim_instead_of_a_value_goes_by_its_head"),
    (Breach::InsteadNever, "a_claim_instead_of_a_value_goes_by_its_head"),
    (Breach::InsteadByVersion, "a_claim_instead_of_a_value_goes_by_its_head"),
    (Breach::InsteadOfPadded, "a_claim_instead_of_a_value_goes_by_its_head"),
    (Breach::InsteadDeletes, "a_claim_instead_of_a_value_goes_by_its_head"),
    (Breach::NoTimeLeft, "the_time_left_is_told"),
    (Breach::FullTimeLeft, "the_time_left_is_told"),
    (Breach::NoToken, "a_fill_needs_its_lease"),
    (Breach::AnyToken, "a_fill_needs_its_lease"),
    (Breach::AnyToken, "an_expired_lease_is_free"),
    (Breach::EndsOthersLease, "a_fill_needs_its_lease"),
    (Breach::KeepsOwnLease, "a_fill_ends_its_lease"),
    (Breach::KeepsOwnLeaseIfRejected, "a_fill_ends_its_lease"),
    (Breach::WriteKeepsLease, "a_write_without_a_lease_ends_it"),
    (Breach::NoVersion, "a_higher_version_stays"),
    (Breach::FloatVersions, "a_higher_version_stays"),
    (Breach::ShortVersions, "a_higher_version_stays"),
    (Breach::SignedVersions, "a_higher_version_stays"),
    (Breach::TextVersions, "a_higher_version_stays"),
    (Breach::EqualStays, "a_higher_version_stays"),
    (Breach::UnversionedStays, "a_higher_version_stays"),
    (Breach::KeepsTtl, "values_expire"),
    (Breach::NoTtl, "values_expire"),
    (Breach::WholeSeconds, "values_expire"),
    (Breach::CutsValueAtZero, "values_are_any_bytes"),
    (Breach::CutsLongValue, "values_are_any_bytes"),
    (Breach::EmptyIsNothing, "values_are_any_bytes"),
    (Breach::TellsIfNotWritten, "messages_are_told_in_order"),
    (Breach::WriteTellsNobody, "messages_are_told_in_order"),
    (Breach::DeletionKeepsLease, "a_deletion_ends_the_lease"),
    (Breach::DeletionKeepsLease, "a_deletion_leaves_nothing"),
    (Breach::NeverDeletes, "a_deletion_leaves_nothing"),
    (Breach::UnlessIgnored, "a_higher_version_is_not_deleted"),
    (Breach::UnlessHigher, "a_higher_version_is_not_deleted"),
    (Breach::UnlessFloat, "a_higher_version_is_not_deleted"),
    (Breach::UnlessKeepsLease, "a_higher_version_is_not_deleted"),
    (Breach::FalseWhereIsNothing, "a_deletion_leaves_nothing"),
    (Breach::TellsOnlyOfWhatWasThere, "messages_are_told_in_order"),
    (Breach::NamesEndAtZero, "names_are_any_bytes"),
    (Breach::NamesEndAtLine, "names_are_any_bytes"),
    (Breach::NamesAreLowered, "names_are_any_bytes"),
    (Breach::NamesAreCut, "names_are_any_bytes"),
    (Breach::PadsHeads, "heads_are_of_long_values"),
    (Breach::ReadsReversed, "answers_are_in_the_order_asked"),
    (Breach::WritesReversed, "answers_are_in_the_order_asked"),
    (Breach::DeletesReversed, "answers_are_in_the_order_asked"),
    (Breach::HeadsReversed, "answers_are_in_the_order_asked"),
    (Breach::RefusesNothing, "nothing_asked_is_nothing_answered"),
    (Breach::NumbersAlwaysFresh, "numbers_are_put_once"),
    (Breach::FloatNumbers, "numbers_are_put_once"),
    (Breach::NumbersLiveOn, "numbers_are_put_once"),
    (Breach::NumbersNotKept, "numbers_are_put_once"),
    (Breach::SetIgnored, "set_numbers_replace"),
    (Breach::SetForEver, "set_numbers_replace"),
    (Breach::SetTellsNobody, "messages_are_told_in_order"),
    (Breach::AnyoneFrees, "a_lock_is_one_holder_s"),
    (Breach::AnyoneExtends, "a_lock_is_one_holder_s"),
    (Breach::ManyTake, "a_lock_is_one_holder_s"),
    (Breach::ExtendsNothing, "a_lock_is_one_holder_s"),
    (Breach::FreesNothing, "a_lock_is_one_holder_s"),
    (Breach::OnePage, "a_scan_finds_what_stays"),
    (Breach::PagesByOffset, "a_scan_finds_what_stays"),
    (Breach::EverythingMatches, "a_scan_finds_what_stays"),
    (Breach::NoClasses, "patterns_are_those_of_redis"),
    (Breach::NoEscapes, "patterns_are_those_of_redis"),
    (Breach::AliveTooEarly, "changes_are_told_before_the_line_is_alive"),
    (Breach::OneNameAPush, "changes_are_told_before_the_line_is_alive"),
    (Breach::TellsOfWritesAlone, "changes_are_told_before_the_line_is_alive"),
    (Breach::TellsOfANameOnce, "what_was_read_is_told_of_when_it_changes"),
    (Breach::AnyPrefix, "changes_are_told_before_the_line_is_alive"),
    (Breach::UpTwice, "changes_are_told_before_the_line_is_alive"),
    (Breach::AliveFirst, "messages_are_told_in_order"),
    (Breach::OtherMode, "messages_are_told_in_order"),
    (Breach::MessagesTwice, "messages_are_told_in_order"),
    (Breach::MessagesReversed, "messages_are_told_in_order"),
    (Breach::MessagesCutAtZero, "messages_are_told_in_order"),
    (Breach::OneMessageABatch, "messages_are_told_in_order"),
    (Breach::NeverEnds, "a_line_that_nobody_wants_ends"),
];

/// The remote in memory, but for one thing.
pub(crate) struct Wrong {
    inner: MemoryRemote,
    breach: Breach,
}

fn head(bytes: &[u8]) -> Option<[u8; HEAD]> {
    bytes.first_chunk().copied()
}

fn version(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(12..20)?.try_into().ok()?))
}

/// Bytes up to the first of these.
fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|byte| *byte == end).next().unwrap_or_default()
}

const LONG: Duration = Duration::from_secs(60);

impl Wrong {
    pub(crate) fn new(inner: MemoryRemote, breach: Breach) -> Self {
        Self { inner, breach }
    }

    fn is(&self, breach: Breach) -> bool {
        self.breach == breach
    }

    fn name(&self, name: &[u8]) -> Vec<u8> {
        match self.breach {
            Breach::NamesEndAtZero => until(name, 0).to_vec(),
            Breach::NamesEndAtLine => until(name, b'\n').to_vec(),
            Breach::NamesAreLowered => name.to_ascii_lowercase(),
            Breach::NamesAreCut => name[..name.len().min(10_000)].to_vec(),
            _ => name.to_vec(),
        }
    }

    fn place(&self, place: &Place) -> Place {
        Place { value: self.name(&place.value), lease: self.name(&place.lease) }
    }

    fn token(&self, name: &[u8]) -> Option<Token> {
        self.inner.peek(name)?.try_into().ok().map(Token)
    }

    async fn take(&self, name: &[u8], token: Option<Token>) -> Result<(), RemoteError> {
        if let Some(token) = token {
            self.inner.lock(name, token, Turn::Take(LONG)).await?;
        }
        Ok(())
    }

    fn claim(&self, place: &Place, mut claim: Claim) -> Claim {
        let is = self.inner.peek(&place.value).unwrap_or_default();
        let Some(instead_of) = claim.instead_of else { return claim };
        let mut padded = is.clone();
        padded.resize(HEAD, 0);
        let by_version = is.get(..20) == instead_of.get(..20);
        match self.breach {
            Breach::InsteadAlways => claim.instead_of = head(&is),
            Breach::InsteadNever => claim.instead_of = None,
            Breach::InsteadByVersion if by_version => claim.instead_of = head(&is),
            Breach::InsteadOfPadded if padded == instead_of => {
                self.inner.put_foreign(&place.value, &padded);
            }
            _ => {}
        }
        claim
    }

    async fn read_one(&self, read: &Read<'_>) -> Result<Found, RemoteError> {
        let place = self.place(read.place);
        let claim = read.claim.map(|claim| self.claim(&place, claim));
        let mut found = self.inner.read(&[Read { place: &place, claim }]).await?.remove(0);
        if self.is(Breach::ReadsTakeLeases) && claim.is_none() && found == Found::Nothing {
            self.take(&place.lease, Some(Token([7; 16]))).await?;
        }
        let is_value = matches!(found, Found::Value { .. });
        if self.is(Breach::ClaimsTakeLeasesOfValues) && is_value {
            self.take(&place.lease, claim.map(|claim| claim.token)).await?;
        }
        if self.is(Breach::InsteadDeletes) && found == Found::Granted {
            let elsewhere = Place { lease: b"elsewhere".to_vec(), ..place };
            self.inner.delete(&[Delete { place: &elsewhere, unless: None, tell: None }]).await?;
        }
        match (&mut found, self.breach) {
            (Found::Held(_), Breach::GrantsTwice) => found = Found::Granted,
            (Found::Held(left), Breach::HeldForNoTime) => *left = Duration::ZERO,
            (Found::Held(left), Breach::HeldForEver) => *left = Duration::MAX,
            (Found::Value { left, .. }, Breach::NoTimeLeft) => *left = None,
            (Found::Value { left, .. }, Breach::FullTimeLeft) => *left = Some(LONG),
            (Found::Value { bytes, .. }, Breach::EmptyIsNothing) if bytes.is_empty() => {
                found = Found::Nothing;
            }
            _ => {}
        }
        Ok(found)
    }

    /// Whether a comparison of versions that goes wrong keeps the value that is there.
    fn keeps(&self, is: Option<u64>, new: Option<u64>) -> Option<bool> {
        let is = is?;
        let Some(new) = new else { return Some(self.is(Breach::UnversionedStays)) };
        match self.breach {
            Breach::FloatVersions => Some(is as f64 > new as f64),
            Breach::ShortVersions => Some(is as u32 > new as u32),
            Breach::SignedVersions => Some((is as i64) > new as i64),
            Breach::TextVersions => Some(is.to_string() > new.to_string()),
            Breach::EqualStays => Some(is >= new),
            _ => None,
        }
    }

    fn ttl(&self, place: &Place, ttl: Duration) -> Duration {
        match self.breach {
            Breach::KeepsTtl if self.inner.peek(&place.value).is_some() => {
                Duration::from_millis(40)
            }
            Breach::NoTtl => Duration::MAX,
            Breach::WholeSeconds => Duration::from_secs(ttl.as_secs() + 1),
            _ => ttl,
        }
    }

    fn bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.breach {
            Breach::CutsValueAtZero => until(bytes, 0),
            Breach::CutsLongValue => &bytes[..bytes.len().min(1 << 19)],
            _ => bytes,
        }
    }

    async fn write_one(&self, write: &Write<'_>) -> Result<bool, RemoteError> {
        let place = self.place(write.place);
        let (is, lease) = (self.inner.peek(&place.value), self.token(&place.lease));
        let mut own = Write {
            place: &place,
            bytes: self.bytes(write.bytes),
            ttl: self.ttl(&place, write.ttl),
            ..*write
        };
        let may = own.leased.is_none() || own.leased == lease;
        match self.breach {
            Breach::NoToken => own.leased = None,
            Breach::AnyToken => own.leased = own.leased.and(lease).or(own.leased),
            Breach::NoVersion => own.version = None,
            Breach::WriteTellsNobody => own.tell = None,
            _ => {}
        }
        if may && is.is_some() {
            match self.keeps(is.as_deref().and_then(version), own.version) {
                Some(true) => return Ok(false),
                Some(false) => own.version = None,
                None => {}
            }
        }
        let done = self.inner.write(&[own]).await?[0];
        match self.breach {
            Breach::EndsOthersLease if !done => {
                self.inner.lock(&place.lease, lease.unwrap_or(Token([0; 16])), Turn::Free).await?;
            }
            Breach::KeepsOwnLease if done => self.take(&place.lease, write.leased).await?,
            Breach::KeepsOwnLeaseIfRejected if may && !done => {
                self.take(&place.lease, write.leased).await?;
            }
            Breach::WriteKeepsLease if write.leased.is_none() => {
                self.take(&place.lease, lease).await?;
            }
            Breach::TellsIfNotWritten if !done => {
                self.inner.set_number(b"none", 1, LONG, write.tell).await?;
            }
            _ => {}
        }
        Ok(done)
    }

    async fn delete_one(&self, delete: &Delete<'_>) -> Result<bool, RemoteError> {
        let place = self.place(delete.place);
        let (is, lease) = (self.inner.peek(&place.value), self.token(&place.lease));
        let mut own = Delete { place: &place, ..*delete };
        let there = is.as_deref().and_then(version);
        match self.breach {
            Breach::NeverDeletes => own.unless = Some(0),
            Breach::UnlessIgnored => own.unless = None,
            Breach::UnlessHigher => own.unless = own.unless.map(|unless| unless.saturating_add(1)),
            Breach::UnlessFloat => {
                let stays = own.unless.zip(there).map(|(unless, is)| is as f64 >= unless as f64);
                own.unless = stays.and_then(|stays| stays.then_some(0));
            }
            Breach::TellsOnlyOfWhatWasThere if is.is_none() => own.tell = None,
            _ => {}
        }
        let done = self.inner.delete(&[own]).await?[0];
        match self.breach {
            Breach::DeletionKeepsLease => self.take(&place.lease, lease).await?,
            Breach::UnlessKeepsLease if !done => self.take(&place.lease, lease).await?,
            Breach::FalseWhereIsNothing => return Ok(done && is.is_some()),
            _ => {}
        }
        Ok(done)
    }

    fn reversed<T>(&self, breach: Breach, mut answers: Vec<T>) -> Vec<T> {
        if self.is(breach) {
            answers.reverse();
        }
        answers
    }

    fn asked<T>(&self, asked: &[T]) -> Result<(), RemoteError> {
        match asked.is_empty() && self.is(Breach::RefusesNothing) {
            true => Err(RemoteError::Refused("nothing is asked".to_owned())),
            false => Ok(()),
        }
    }

    /// Whole pages of what is there now, of which the first so many were shown before.
    async fn by_offset(&self, pattern: &[u8], from: Option<&[u8]>) -> Result<Page, RemoteError> {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = self.inner.scan(pattern, next.as_deref()).await?;
            all.extend(page.names);
            let Some(more) = page.next else { break };
            next = Some(more);
        }
        let from = from.and_then(|from| std::str::from_utf8(from).ok()?.parse().ok()).unwrap_or(0);
        let names: Vec<_> = all.iter().skip(from).take(100).cloned().collect();
        let next = (from + 100 < all.len()).then(|| (from + 100).to_string().into_bytes());
        Ok(Page { names, next })
    }
}

impl Remote for Wrong {
    fn blocks(&self) -> bool {
        self.is(Breach::NoneButBlocks)
    }

    fn read<'a>(&'a self, reads: &'a [Read<'a>]) -> Reply<'a, Vec<Found>> {
        Box::pin(async move {
            self.asked(reads)?;
            let mut found = Vec::new();
            for read in reads {
                found.push(self.read_one(read).await?);
            }
            Ok(self.reversed(Breach::ReadsReversed, found))
        })
    }

    fn heads<'a>(&'a self, names: &'a [&'a [u8]]) -> Reply<'a, Vec<Option<[u8; HEAD]>>> {
        Box::pin(async move {
            let names: Vec<_> = names.iter().map(|name| self.name(name)).collect();
            let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
            let mut heads = self.inner.heads(&names).await?;
            if self.is(Breach::PadsHeads) {
                for (name, head) in names.iter().zip(&mut heads) {
                    let mut bytes = self.inner.peek(name).unwrap_or_default();
                    bytes.resize(HEAD, 0);
                    *head = bytes.first_chunk().copied();
                }
            }
            Ok(self.reversed(Breach::HeadsReversed, heads))
        })
    }

    fn write<'a>(&'a self, writes: &'a [Write<'a>]) -> Reply<'a, Vec<bool>> {
        Box::pin(async move {
            if self.is(Breach::OneNameAPush) {
                return self.inner.write(writes).await;
            }
            let mut written = Vec::new();
            for write in writes {
                written.push(self.write_one(write).await?);
            }
            Ok(self.reversed(Breach::WritesReversed, written))
        })
    }

    fn delete<'a>(&'a self, deletes: &'a [Delete<'a>]) -> Reply<'a, Vec<bool>> {
        Box::pin(async move {
            let mut deleted = Vec::new();
            for (n, delete) in deletes.iter().enumerate() {
                let mut delete = *delete;
                if n > 0 && self.is(Breach::OneMessageABatch) {
                    delete.tell = None;
                }
                deleted.push(self.delete_one(&delete).await?);
            }
            Ok(self.reversed(Breach::DeletesReversed, deleted))
        })
    }

    fn numbers<'a>(
        &'a self,
        names: &'a [&'a [u8]],
        fresh: u64,
        ttl: Duration,
    ) -> Reply<'a, Vec<u64>> {
        Box::pin(async move {
            for name in names {
                if self.is(Breach::NumbersAlwaysFresh) {
                    self.inner.set_number(name, fresh, ttl, None).await?;
                }
            }
            let numbers = self.inner.numbers(names, fresh, ttl).await?;
            for (name, number) in names.iter().zip(&numbers) {
                if self.is(Breach::NumbersLiveOn) {
                    self.inner.set_number(name, *number, ttl, None).await?;
                }
                if self.is(Breach::NumbersNotKept) && *number == fresh {
                    let place = Place { value: name.to_vec(), lease: b"none".to_vec() };
                    let delete = Delete { place: &place, unless: None, tell: None };
                    self.inner.delete(&[delete]).await?;
                }
            }
            let float = self.is(Breach::FloatNumbers);
            Ok(numbers.into_iter().map(|n| if float { n as f64 as u64 } else { n }).collect())
        })
    }

    fn set_number<'a>(
        &'a self,
        name: &'a [u8],
        number: u64,
        ttl: Duration,
        tell: Option<Tell<'a>>,
    ) -> Reply<'a, ()> {
        match self.breach {
            Breach::SetIgnored => Box::pin(async { Ok(()) }),
            Breach::SetForEver => self.inner.set_number(name, number, Duration::MAX, tell),
            Breach::SetTellsNobody => self.inner.set_number(name, number, ttl, None),
            _ => self.inner.set_number(name, number, ttl, tell),
        }
    }

    fn lock<'a>(&'a self, name: &'a [u8], token: Token, turn: Turn) -> Reply<'a, bool> {
        let holder = self.token(name);
        match (self.breach, turn) {
            (Breach::AnyoneFrees, Turn::Free) | (Breach::AnyoneExtends, Turn::Extend(_)) => {
                self.inner.lock(name, holder.unwrap_or(token), turn)
            }
            (Breach::ManyTake, Turn::Take(_)) => Box::pin(async move {
                self.inner.lock(name, holder.unwrap_or(token), Turn::Free).await?;
                self.inner.lock(name, token, turn).await
            }),
            (Breach::ExtendsNothing, Turn::Extend(_)) | (Breach::FreesNothing, Turn::Free) => {
                Box::pin(async move { Ok(holder == Some(token)) })
            }
            _ => self.inner.lock(name, token, turn),
        }
    }

    fn scan<'a>(&'a self, pattern: &'a [u8], from: Option<&'a [u8]>) -> Reply<'a, Page> {
        Box::pin(async move {
            match self.breach {
                Breach::OnePage => {
                    let names = self.inner.scan(pattern, from).await?.names;
                    Ok(Page { names, next: None })
                }
                Breach::PagesByOffset => self.by_offset(pattern, from).await,
                Breach::EverythingMatches => self.inner.scan(b"*", from).await,
                Breach::NoClasses => {
                    let escaped = pattern.escape_ascii().to_string().replace('[', "\\[");
                    self.inner.scan(escaped.as_bytes(), from).await
                }
                Breach::NoEscapes => {
                    let plain: Vec<_> = pattern.iter().copied().filter(|b| *b != b'\\').collect();
                    self.inner.scan(&plain, from).await
                }
                _ => self.inner.scan(pattern, from).await,
            }
        })
    }

    fn listen<'a>(&'a self, listen: &'a Listen, ear: Arc<dyn Ear>) -> Reply<'a, Infallible> {
        let ear = Arc::new(WrongEar { ear, wrong: self.breach, kept: Mutex::default() });
        if self.is(Breach::AnyPrefix) {
            let any = Listen { prefix: Vec::new(), ..listen.clone() };
            let inner = self.inner.clone();
            return Box::pin(async move { inner.listen(&any, ear).await });
        }
        self.inner.listen(listen, ear)
    }
}

/// What is told, but for one thing.
struct WrongEar {
    ear: Arc<dyn Ear>,
    wrong: Breach,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl WrongEar {
    fn keep(&self, bytes: &[u8]) {
        self.kept.lock().unwrap().push(bytes.to_vec());
    }

    fn kept(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.kept.lock().unwrap())
    }
}

impl Ear for WrongEar {
    fn up(&self, mode: Mode) {
        match self.wrong {
            Breach::AliveFirst => self.ear.alive(self.ear.now()),
            Breach::UpTwice => self.ear.up(mode),
            Breach::OtherMode => return self.ear.up(Mode::OptIn),
            _ => {}
        }
        self.ear.up(mode);
    }

    fn changed(&self, names: &[&[u8]]) {
        match self.wrong {
            Breach::AliveTooEarly => names.iter().for_each(|name| self.keep(name)),
            Breach::OneNameAPush => self.ear.changed(&names[..1]),
            // A name is told of every second time: when it is written, and not when it is deleted.
            Breach::TellsOfWritesAlone => {
                let mut kept = self.kept.lock().unwrap();
                let known = kept.iter().position(|name| name == names[0]);
                if let Some(known) = known {
                    kept.remove(known);
                } else {
                    kept.push(names[0].to_vec());
                    drop(kept);
                    self.ear.changed(names);
                }
            }
            Breach::TellsOfANameOnce => {
                let mut kept = self.kept.lock().unwrap();
                let new = |name: &&&[u8]| !kept.iter().any(|kept| kept == *name);
                let names: Vec<&[u8]> = names.iter().filter(new).copied().collect();
                kept.extend(names.iter().map(|name| name.to_vec()));
                drop(kept);
                self.ear.changed(&names);
            }
            _ => self.ear.changed(names),
        }
    }

    fn all_changed(&self) {
        self.ear.all_changed();
    }

    fn message(&self, message: &[u8]) {
        match self.wrong {
            Breach::MessagesReversed => self.keep(message),
            Breach::MessagesCutAtZero => self.ear.message(until(message, 0)),
            Breach::MessagesTwice => (0..2).for_each(|_| self.ear.message(message)),
            _ => self.ear.message(message),
        }
    }

    fn now(&self) -> Duration {
        self.ear.now()
    }

    fn alive(&self, asked: Duration) {
        if self.wrong == Breach::MessagesReversed {
            self.kept().iter().rev().for_each(|message| self.ear.message(message));
        }
        self.ear.alive(asked);
        if self.wrong == Breach::AliveTooEarly {
            self.kept().iter().for_each(|name| self.ear.changed(&[name]));
        }
    }

    fn sleep(&self, time: Duration) -> Task {
        self.ear.sleep(time)
    }

    fn is_gone(&self) -> bool {
        self.wrong != Breach::NeverEnds && self.ear.is_gone()
    }
}
