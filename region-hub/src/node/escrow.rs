//! Reservations: answered from what this hub holds, made durable in its own log.

use bytes::Bytes;
use headland_event::codec::Writer;
use headland_event::{
    Alert, Batch, ByteCount, Entry, Incarnation, NodeRule, Now, Offset, Record, TopicPartition,
};
use headland_reconcile::escrow::{Answer, CloseError, Closing, OrderError, Standing};
use headland_reconcile::{EscrowOutput, EscrowRecord, Holder, MemberStanding, Sku, Units};
use headland_storage::{LogReader, MissingOffsets, ReadError, StateError, StateStore};

use super::recovery::{RecoveryError, owner};
use super::{Node, StartError};
use crate::config::HubConfig;
use crate::escrow::{
    CloseRequest, ReserveRequest, Reserved, Rights, RightsView, UnitsRequest, escrow_partition,
    escrow_topic,
};
use crate::topics::Topic;

/// Bytes of a log of rights read at once.
const READ_BYTES: ByteCount = ByteCount::mebibytes(1);

/// Why nothing is reserved or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// This hub holds no rights.
    #[error("this hub takes no reservations; add a section [escrow] to its configuration")]
    NotConfigured,
    /// A part of this hub's log of rights is lost: a reservation may be among it, so that nobody
    /// knows how many units are left to promise.
    #[error(
        "this hub's rights are frozen: records {from} to {until} of {partition} are damaged, so \
         that nobody knows what it may still promise; start it from a backup of before that \
         (headland store restore), as a new life without these rights",
        partition = lost.partition, from = lost.from, until = lost.until
    )]
    Frozen {
        /// What is lost.
        lost: MissingOffsets,
    },
    /// The disk has room for nothing but alerts.
    #[error(
        "the disk is full: nothing was reserved or changed; ask again once there is room, \
         by storage or a shorter retention"
    )]
    Full,
    /// Nothing of that name is reserved here.
    #[error("no reservation {request} of sku {sku} is open here")]
    NotOpen {
        /// The request.
        request: String,
        /// The sku.
        sku: Sku,
    },
    /// An offer or a recall has the name of another one.
    #[error(transparent)]
    Order(OrderError),
    /// It ended otherwise.
    #[error("reservation {request} of sku {sku} was {outcome} already")]
    Closed {
        /// The request.
        request: String,
        /// The sku.
        sku: Sku,
        /// How.
        outcome: Closing,
    },
    /// It is being ended otherwise.
    #[error("reservation {request} of sku {sku} is being {outcome} already")]
    Ending {
        /// The request.
        request: String,
        /// The sku.
        sku: Sku,
        /// How.
        outcome: Closing,
    },
}

/// What a hub has of rights.
#[derive(Debug)]
pub(super) enum Held {
    /// It takes no reservations.
    Nothing,
    /// What its log tells.
    Rights(Box<Rights>),
    /// Its log does not tell all: it does nothing with rights.
    Frozen(MissingOffsets),
}

impl Held {
    fn rights(&mut self) -> Option<&mut Rights> {
        match self {
            Self::Rights(rights) => Some(rights),
            Self::Nothing | Self::Frozen(_) => None,
        }
    }

    /// What its log tells, or why it does not.
    fn told(&self) -> Result<&Rights, EscrowError> {
        match self {
            Self::Nothing => Err(EscrowError::NotConfigured),
            Self::Frozen(lost) => Err(EscrowError::Frozen { lost: lost.clone() }),
            Self::Rights(rights) => Ok(rights),
        }
    }
}

/// What a log of rights has at the next place.
pub(super) enum Found<'a> {
    Entry(&'a Entry),
    Lost(MissingOffsets),
}

impl Node {
    /// The rights of a hub that is configured to hold some, before its log is read.
    pub(super) fn rights(
        config: &HubConfig,
        incarnation: Incarnation,
        state: &impl StateStore,
        seed: u64,
    ) -> Result<Held, StartError> {
        let Some(escrow) = &config.escrow else { return Ok(Held::Nothing) };
        let standing = standing(incarnation, state).map_err(RecoveryError::State)?;
        let region = config.region.clone();
        let rights = Rights::new(escrow, region, incarnation, standing, seed);
        Ok(Held::Rights(Box::new(rights)))
    }

    /// Reads what every log of rights here says. O(their bytes).
    ///
    /// What damage took from another hub's log is passed over: rights that it gave may be lost with
    /// it. What it took from this hub's own log may be a reservation, so that its rights freeze.
    ///
    /// # Errors
    /// [`StartError`] when a log cannot be read, or this hub's own does not begin at 0.
    pub(super) fn recover_rights(&mut self, log: &impl LogReader) -> Result<(), StartError> {
        let (late, whole) = (self.late_rights(), self.whole_rights());
        let Some(rights) = self.rights.rights() else { return Ok(()) };
        late.iter().for_each(|(life, from)| rights.on_cut(life, *from));
        let life = self.incarnation;
        let mut frozen = None;
        // What was handed on of a log comes behind what is here of the log itself: of each holder
        // what lies before the last that was read is passed over, but for what came late.
        let mut partitions = log.partitions();
        partitions.sort_by_key(|at| self.topics.get(&at.topic).is_some_and(Topic::is_apart));
        for partition in partitions {
            let topic = self.topics.get(&partition.topic);
            let Some(topic) = topic.filter(|topic| topic.origin_name == escrow_topic()) else {
                continue;
            };
            let (is_own, found) = (topic.is_local(), log.start(&partition));
            if is_own && found > Offset::new(0) {
                let data_dir = self.data_dir.clone();
                return Err(StartError::RightsGone { data_dir, partition, found });
            }
            let scanned = scan(log, &partition, |found| match found {
                Found::Entry(entry) => {
                    // Lives follow each other in their log: what is lost before an entry of an
                    // earlier one is of an earlier one too, and those hold nothing any more.
                    if is_own && entry.stamp.as_ref().is_some_and(|of| of.actor.incarnation != life)
                    {
                        frozen = None;
                    }
                    rights.replay(entry);
                }
                Found::Lost(lost) => {
                    let MissingOffsets { partition, from, until } = &lost;
                    tracing::error!(%partition, %from, %until, "records about rights are lost");
                    rights.on_lost();
                    if is_own {
                        frozen = Some(lost);
                    }
                }
            });
            scanned.map_err(RecoveryError::Log)?;
        }
        whole.iter().for_each(|life| rights.on_whole(life));
        match frozen {
            Some(lost) => {
                let error = EscrowError::Frozen { lost: lost.clone() };
                tracing::error!("{error}");
                self.rights = Held::Frozen(lost);
            }
            None => rights.resume(),
        }
        Ok(())
    }

    /// Takes note of durable records about rights, and writes what they call for.
    pub(super) fn note_rights(&mut self, now: Now, entries: &[(TopicPartition, Entry)]) {
        for (partition, entry) in entries {
            let topic = self.topics.get(&partition.topic);
            let Some(topic) = topic.filter(|topic| topic.origin_name == escrow_topic()) else {
                continue;
            };
            let of = entry.stamp.as_ref().map(|stamp| Holder::of(&stamp.actor));
            let is_former = topic.is_apart() || of.is_some_and(|life| self.is_former(&life));
            match self.rights.rights() {
                Some(rights) if is_former => rights.on_entry_of_former(now.monotonic, entry),
                Some(rights) => rights.on_entry(now.monotonic, entry),
                None => return,
            }
        }
        // On a full disk what they call for waits in the escrow until there is room.
        if !self.fullness.is_full() {
            self.write_rights(now, None);
        }
    }

    /// Whether a life spends no rights any more: it is over, or excluded.
    fn is_former(&self, life: &Holder) -> bool {
        let standing = self.inventory.members().standing(life);
        let is_excluded = standing == Some(MemberStanding::Excluded) && *life != self.life();
        is_excluded || self.is_over(life)
    }

    /// Takes note that another region's hub was met in this life.
    pub(super) fn note_peer_met(&mut self) {
        let Some(rights) = self.rights.rights() else { return };
        rights.on_peer_met();
        self.composer.set(owner("escrow"), met_key(), Some(encoded(self.incarnation)));
    }

    /// Whether logs of rights may be cut to the last record of each key: all that are here have
    /// keys that say what they are about.
    pub(super) fn may_cut_rights(&self) -> bool {
        self.rights.told().is_ok_and(Rights::may_be_cut)
    }

    /// The rights, when something can be done with them now.
    fn usable_rights(&mut self) -> Result<&mut Rights, EscrowError> {
        self.rights.told()?;
        if self.fullness.is_full() {
            return Err(EscrowError::Full);
        }
        self.rights.rights().ok_or(EscrowError::NotConfigured)
    }

    /// A customer asks for units: answered at once, or granted once a record is durable.
    ///
    /// # Errors
    /// [`EscrowError`] when this hub holds no rights, they are frozen, or its disk is full.
    pub fn on_reserve(
        &mut self,
        now: Now,
        asked: &ReserveRequest,
    ) -> Result<Reserved, EscrowError> {
        self.usable_rights()?.on_reserve(now.monotonic, asked);
        let answer = self.write_rights(now, Some(asked));
        let under_way = self.rights.told()?.under_way(asked).map(Reserved::UnderWay);
        // An escrow writes or answers; were it to do neither, nothing would be known.
        debug_assert!(
            answer.is_some() != under_way.is_some(),
            "a reservation is either under way or answered"
        );
        Ok(answer.or(under_way).unwrap_or(Reserved::Answered(Answer::UnknownYet)))
    }

    /// A reservation made here ended, once however often that is said; durable once the log of
    /// rights reaches the offset returned.
    ///
    /// # Errors
    /// [`EscrowError`] when none of that name is open here, it is being ended otherwise, or as
    /// [`Self::on_reserve`].
    pub fn on_reservation_closed(
        &mut self,
        now: Now,
        asked: &CloseRequest,
    ) -> Result<Offset, EscrowError> {
        self.usable_rights()?.on_close(asked).map_err(|error| {
            let (request, sku) = (asked.request.to_string(), asked.sku.clone());
            match error {
                CloseError::Ending { outcome } => EscrowError::Ending { request, sku, outcome },
                CloseError::Closed { outcome } => EscrowError::Closed { request, sku, outcome },
                CloseError::NotOpen => EscrowError::NotOpen { request, sku },
            }
        })?;
        self.write_rights(now, None);
        Ok(self.composer.end(&escrow_partition()))
    }

    /// Puts units up for sale; durable once the log of rights reaches the offset returned.
    ///
    /// # Errors
    /// [`EscrowError`] when another offer or recall has its name, or as [`Self::on_reserve`].
    pub fn on_offered(&mut self, now: Now, asked: &UnitsRequest) -> Result<Offset, EscrowError> {
        self.usable_rights()?.on_create(asked).map_err(EscrowError::Order)?;
        self.write_rights(now, None);
        Ok(self.composer.end(&escrow_partition()))
    }

    /// Units that were put up for sale are missing: rights are recalled from every holder; durable
    /// once the log of rights reaches the offset returned.
    ///
    /// # Errors
    /// [`EscrowError`] when another offer or recall has its name, or as [`Self::on_reserve`].
    pub fn on_missing(&mut self, now: Now, asked: &UnitsRequest) -> Result<Offset, EscrowError> {
        self.usable_rights()?.on_shortfall(asked).map_err(EscrowError::Order)?;
        self.write_rights(now, None);
        Ok(self.composer.end(&escrow_partition()))
    }

    /// What is known of a sku's rights.
    ///
    /// # Errors
    /// [`EscrowError`] when this hub holds none, or they are frozen.
    pub fn rights_of(&self, sku: &Sku) -> Result<RightsView, EscrowError> {
        self.rights.told().map(|rights| rights.view(sku))
    }

    /// Composes what the escrow asks for, and returns the answer to a reservation if it has one.
    pub(super) fn write_rights(
        &mut self,
        now: Now,
        asked: Option<&ReserveRequest>,
    ) -> Option<Reserved> {
        let mut answered = None;
        while let Some(output) = self.rights.rights().and_then(Rights::poll_output) {
            match output {
                EscrowOutput::Commit(record) => self.write_right(now, &record),
                EscrowOutput::Answer { sku, request, answer } => {
                    let is_asked = asked.is_some_and(|of| of.sku == sku && of.request == request);
                    answered = is_asked.then_some(Reserved::Answered(answer)).or(answered);
                }
                EscrowOutput::Short { sku, units } => self.warn_short(now, &sku, units),
            }
        }
        self.cut_commit();
        answered
    }

    fn write_right(&mut self, now: Now, record: &EscrowRecord) {
        let at = escrow_partition();
        let offset = self.composer.end(&at);
        let life = self.life();
        let written = Record::new(now.wall, record.key(&life), record.to_json());
        // In one batch: were the log cut between them, a promise would stand beside its end.
        let gone = record.gone().map(|gone| Record {
            value: None,
            ..Record::new(now.wall, gone.key(&life), Bytes::new())
        });
        let written: Vec<Record> = [written].into_iter().chain(gone).collect();
        match Batch::encode(&written) {
            Ok(batch) => {
                if let Some(rights) = self.rights.rights() {
                    rights.on_composed(offset, record);
                }
                self.born(&at, batch, now);
            }
            // Names are bounded, and so is the number of holders that a recall names.
            Err(error) => tracing::error!(%at, %error, "a record about rights fits no batch"),
        }
    }

    /// Says that units were promised which are not there.
    fn warn_short(&mut self, now: Now, sku: &Sku, units: Units) {
        tracing::error!(%sku, %units, "units were promised that are not there");
        let evidence = self.composer.end(&escrow_partition());
        let region = self.identity.region().to_string();
        let place = (sku.to_string(), format!("{region}/{}/{evidence}", self.incarnation));
        let values = [("region", region), ("sku", sku.to_string()), ("units", units.to_string())];
        let alert = Alert::of_node(NodeRule::EscrowShort, place, now.wall, values);
        self.raise(&Alert { evidence, ..alert }, now);
    }
}

/// Reads a log of rights from its start to its end, and names what is missing between.
pub(super) fn scan(
    log: &impl LogReader,
    partition: &TopicPartition,
    mut on_found: impl FnMut(Found<'_>),
) -> Result<(), ReadError> {
    let (end, mut next) = (log.end(partition), log.start(partition));
    let missing =
        |from, until| Found::Lost(MissingOffsets { partition: partition.clone(), from, until });
    // The end is read too: only so a log says that what came last is damaged.
    loop {
        match log.read(partition, next, READ_BYTES) {
            Ok(entries) if entries.is_empty() => {
                if next < end {
                    on_found(missing(next, end));
                }
                return Ok(());
            }
            Ok(entries) => {
                for entry in &entries {
                    if entry.base > next {
                        on_found(missing(next, entry.base));
                    }
                    on_found(Found::Entry(entry));
                    next = entry.end();
                }
            }
            Err(ReadError::Quarantined { partition: _, from, until }) => {
                on_found(missing(from, until));
                if until >= end {
                    return Ok(());
                }
                next = until.max(next.after(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn met_key() -> Bytes {
    Bytes::from_static(b"met")
}

fn encoded(incarnation: Incarnation) -> Bytes {
    let mut writer = Writer::new();
    writer.u32(incarnation.counter());
    writer.u64(incarnation.nonce());
    writer.finish()
}

/// The first life of a data directory began empty. A later one came up from a backup or as a clone,
/// until it has met a peer.
fn standing(incarnation: Incarnation, state: &impl StateStore) -> Result<Standing, StateError> {
    let met = state.get(&owner("escrow"), &met_key())?;
    let has_met = met.is_some_and(|met| met == encoded(incarnation));
    Ok(if has_met || incarnation.counter() <= 1 { Standing::Settled } else { Standing::Alone })
}
