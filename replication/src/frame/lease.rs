//! What hubs say about who is in use.
//!
//! Sent only to a peer that has offered [`LEASES_TOPIC`]: hubs of earlier versions do not know it.

use std::time::Duration;

use headland_event::codec::{CodecError, Reader, Writer};
use headland_event::{Monotonic, RegionId};

use super::{Presence, read_presence, unknown_code};
use crate::lease::{Ballot, LeaseMessage, VOTERS_LIMIT, Vote, Voted};

/// The topic that a hub offers to say that it reads these frames; it never has a record.
pub const LEASES_TOPIC: &str = "_leases";

impl LeaseMessage {
    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Known { regions, voted } => {
                writer.u8(1);
                writer.length(regions.len());
                regions.iter().for_each(|region| writer.name(region.as_str()));
                writer.length(voted.len());
                voted.iter().for_each(|voted| write_voted(writer, voted));
            }
            Self::Ask { number, sent_at, lasts } => {
                writer.u8(2);
                writer.u64(*number);
                writer.u64(sent_at.nanos());
                writer.u64(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX));
            }
            Self::Grant { number, sent_at } => {
                writer.u8(3);
                writer.u64(*number);
                writer.u64(sent_at.nanos());
            }
            Self::Prepare { region, number, ballot } => {
                write_about(writer, 4, region, *number);
                write_ballot(writer, ballot);
            }
            Self::Promise { region, number, ballot, accepted } => {
                write_about(writer, 5, region, *number);
                write_ballot(writer, ballot);
                write_optional(writer, accepted.as_ref(), write_vote);
            }
            Self::Accept { region, number, vote } => {
                write_about(writer, 6, region, *number);
                write_vote(writer, vote);
            }
            Self::Accepted { region, number, ballot } => {
                write_about(writer, 7, region, *number);
                write_ballot(writer, ballot);
            }
            Self::Refused { region, number, promised } => {
                write_about(writer, 8, region, *number);
                write_ballot(writer, promised);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, CodecError> {
        let at = reader.position();
        match reader.u8("lease word")? {
            1 => read_known(reader),
            2 => Ok(Self::Ask {
                number: reader.u64("fence number")?,
                sent_at: Monotonic::from_nanos(reader.u64("sent at")?),
                lasts: Duration::from_nanos(reader.u64("lasts")?),
            }),
            3 => Ok(Self::Grant {
                number: reader.u64("fence number")?,
                sent_at: Monotonic::from_nanos(reader.u64("sent at")?),
            }),
            4 => {
                let (region, number) = read_about(reader)?;
                Ok(Self::Prepare { region, number, ballot: read_ballot(reader)? })
            }
            5 => {
                let (region, number) = read_about(reader)?;
                let ballot = read_ballot(reader)?;
                let accepted = read_optional(reader, "agreed", read_vote)?;
                Ok(Self::Promise { region, number, ballot, accepted })
            }
            6 => {
                let (region, number) = read_about(reader)?;
                Ok(Self::Accept { region, number, vote: read_vote(reader)? })
            }
            7 => {
                let (region, number) = read_about(reader)?;
                Ok(Self::Accepted { region, number, ballot: read_ballot(reader)? })
            }
            8 => {
                let (region, number) = read_about(reader)?;
                Ok(Self::Refused { region, number, promised: read_ballot(reader)? })
            }
            unknown => Err(unknown_code("lease word", at, unknown, "1 to 8")),
        }
    }
}

fn read_known(reader: &mut Reader) -> Result<LeaseMessage, CodecError> {
    let count = reader.length("regions", VOTERS_LIMIT)?;
    let regions = (0..count).map(|_| reader.name("region")).collect::<Result<_, _>>()?;
    let count = reader.length("voted", VOTERS_LIMIT)?;
    let voted = (0..count).map(|_| read_voted(reader)).collect::<Result<_, _>>()?;
    Ok(LeaseMessage::Known { regions, voted })
}

fn write_about(writer: &mut Writer, word: u8, region: &RegionId, number: u64) {
    writer.u8(word);
    writer.name(region.as_str());
    writer.u64(number);
}

fn read_about(reader: &mut Reader) -> Result<(RegionId, u64), CodecError> {
    Ok((reader.name("region")?, reader.u64("fence number")?))
}

fn write_ballot(writer: &mut Writer, ballot: &Ballot) {
    let Ballot { round, by } = ballot;
    writer.u64(*round);
    writer.name(by.as_str());
}

fn read_ballot(reader: &mut Reader) -> Result<Ballot, CodecError> {
    Ok(Ballot { round: reader.u64("round")?, by: reader.name("by")? })
}

fn write_vote(writer: &mut Writer, vote: &Vote) {
    let Vote { ballot, to } = vote;
    write_ballot(writer, ballot);
    writer.name(to.as_str());
}

fn read_vote(reader: &mut Reader) -> Result<Vote, CodecError> {
    Ok(Vote { ballot: read_ballot(reader)?, to: reader.name("to")? })
}

fn write_voted(writer: &mut Writer, voted: &Voted) {
    let Voted { region, number, promised, accepted, leased } = voted;
    writer.name(region.as_str());
    writer.u64(*number);
    write_optional(writer, promised.as_ref(), write_ballot);
    write_optional(writer, accepted.as_ref(), write_vote);
    write_optional(writer, leased.as_ref(), |writer, number| writer.u64(*number));
}

fn read_voted(reader: &mut Reader) -> Result<Voted, CodecError> {
    Ok(Voted {
        region: reader.name("region")?,
        number: reader.u64("fence number")?,
        promised: read_optional(reader, "promised", read_ballot)?,
        accepted: read_optional(reader, "agreed", read_vote)?,
        leased: read_optional(reader, "leased", |reader| reader.u64("leased"))?,
    })
}

fn write_optional<T>(writer: &mut Writer, field: Option<&T>, write: impl Fn(&mut Writer, &T)) {
    Presence::of(field).write(writer);
    if let Some(field) = field {
        write(writer, field);
    }
}

fn read_optional<T>(
    reader: &mut Reader,
    name: &'static str,
    read: impl Fn(&mut Reader) -> Result<T, CodecError>,
) -> Result<Option<T>, CodecError> {
    Ok(match read_presence(reader, name)? {
        Presence::Absent => None,
        Presence::Present => Some(read(reader)?),
    })
}
