//! Reads the newest file: up to an unfinished write, and past damage.

use std::sync::Arc;

use headland_event::{ByteCount, CommitNumber};

use super::{Newest, Recovery, damaged};
use crate::chain::Chain;
use crate::cursor::{Cursor, NextCommit, Step};
use crate::fault::{Fault, OpenError};
use crate::frame::{FIRST_FRAME_AT, FrameHeader, FrameKind};
use crate::group::byte_count;
use crate::index::{FileKind, Index, Segment, Source};
use crate::medium::{Medium, MediumError, MediumFile};
use crate::scan::damaged::Loss;
use crate::scan::{self, Content, PlacedCommit};
use crate::tail::{self, TailKept};
use crate::witness::Witness;

/// What the newest file holds.
pub(super) struct NewestScan<F> {
    pub(super) segment: Segment<F>,
    pub(super) in_doubt: Vec<PlacedCommit>,
    pub(super) chain: Option<Chain>,
    /// Position of the chain.
    pub(super) chain_at: u64,
    pub(super) is_chain_durable: bool,
    /// What was lost, if it is damaged.
    pub(super) loss: Option<Loss>,
}

impl<F: MediumFile> Recovery<F> {
    /// Reads the newest file up to an unfinished write, and what is left behind damage.
    pub(super) fn scan_newest<M: Medium<File = F>>(
        &mut self,
        medium: &mut M,
        newest: &Newest<F>,
        witness: Option<&Witness>,
    ) -> Result<NewestScan<F>, OpenError> {
        let vouched = witness.map_or(FIRST_FRAME_AT, |witness| witness.end.max(FIRST_FRAME_AT));
        let Newest { number, name, file, size, nonce, base, .. } = newest;
        let (kind, end) = (FileKind::Journal, FIRST_FRAME_AT);
        let source =
            Source { file: file.clone(), name: Arc::clone(name), nonce: *nonce, kind, end };
        let mut scan = NewestScan {
            segment: Segment::new(source, *number, *base),
            in_doubt: Vec::new(),
            chain: None,
            chain_at: 0,
            is_chain_durable: true,
            loss: None,
        };
        let mut walk = NewestWalk {
            cursor: Cursor::new(
                file.clone(),
                *nonce,
                NextCommit::Exactly(*base),
                FIRST_FRAME_AT,
                *size,
            ),
            durable: vouched,
        };
        loop {
            let (at, fault) = match scan.walk(&mut self.index, &mut walk)? {
                Some(stop) => stop,
                None if walk.cursor.position() < vouched => {
                    let left = walk.cursor.position();
                    (left, Fault::Short { needed: vouched, left })
                }
                None => break,
            };
            if fault.is_version() {
                return Err(damaged(name, at, fault));
            }
            let remains = tail::examine(file, Some(*nonce), at, *size)?;
            let proofs = remains.proof.into_iter().chain(witness.map(Witness::seal));
            match proofs.max_by_key(|proof| proof.durable) {
                Some(proof) if proof.durable > at => {
                    walk.durable = proof.durable;
                    scan.pass_damage(&mut self.index, at, &proof, *size)?;
                    let next = NextCommit::AtLeast(scan.segment.last.after(1));
                    walk.cursor = Cursor::new(file.clone(), *nonce, next, proof.durable, *size);
                }
                Some(_) | None => {
                    self.cut(medium, newest, at, remains.end)?;
                    break;
                }
            }
        }
        scan.confirm(&mut self.index, walk.durable)
            .map_err(|(at, fault)| damaged(name, at, fault))?;
        scan.is_chain_durable = scan.chain_at < walk.durable;
        // What the file was cut short of is lost, and not a part of it any more.
        scan.segment.extend(walk.durable.min(*size).max(scan.segment.source.end));
        Ok(scan)
    }

    /// Cuts the newest file at the start of an unfinished write that ends at `end`.
    fn cut<M: Medium<File = F>>(
        &mut self,
        medium: &mut M,
        newest: &Newest<F>,
        at: u64,
        end: u64,
    ) -> Result<(), OpenError> {
        let Newest { name, file, .. } = newest;
        if end > at {
            let tail = tail::keep_aside(medium, name, file, (at, end))?;
            let is_aside = matches!(tail.kept, TailKept::Aside(_));
            self.report.tails.push(tail);
            if !is_aside {
                return Ok(());
            }
        }
        file.truncate(ByteCount::new(at))?;
        file.sync()?;
        Ok(())
    }
}

/// Where a walk over the newest file is, and what it has learned.
struct NewestWalk<F> {
    cursor: Cursor<F>,
    /// Highest position known durable.
    durable: u64,
}

impl<F: MediumFile> NewestScan<F> {
    /// Reads frames up to the end, or to the first that is not valid.
    fn walk(
        &mut self,
        index: &mut Index<F>,
        walk: &mut NewestWalk<F>,
    ) -> Result<Option<(u64, Fault)>, MediumError> {
        loop {
            let at = walk.cursor.position();
            let frame = match walk.cursor.step()? {
                Step::End => return Ok(None),
                Step::Invalid(fault) => return Ok(Some((at, fault))),
                Step::Frame(frame) => frame,
            };
            if at == walk.durable && self.segment.is_damaged {
                // What stood before is lost, and this frame knows how many commits that were.
                self.set_last_before(frame.header.commit);
            }
            walk.durable = walk.durable.max(frame.header.durable);
            if let Err(fault) = self.confirm(index, walk.durable) {
                return Ok(Some(fault));
            }
            match scan::read_content(&frame) {
                Ok(Content::Commit(commit)) => self.in_doubt.push(commit),
                Ok(Content::Seal) => {}
                Ok(Content::Chain(chain)) => (self.chain, self.chain_at) = (Some(chain), at),
                Err(fault) => return Ok(Some((at, fault))),
            }
        }
    }

    /// Accepts what stands below a position that a later frame names durable.
    fn confirm(&mut self, index: &mut Index<F>, durable: u64) -> Result<(), (u64, Fault)> {
        let known = self.in_doubt.iter().take_while(|held| held.frame < durable).count();
        for commit in self.in_doubt.drain(..known) {
            scan::accept(index, &mut self.segment, &commit)
                .map_err(|fault| (commit.frame, fault))?;
            if let Some(loss) = &mut self.loss {
                let entries = commit.commit.entries.iter();
                loss.intact.extend(entries.map(|(partition, _)| index.intern(partition)));
            }
        }
        Ok(())
    }

    /// Takes in what is left between the first invalid byte and the end of what was durable.
    fn pass_damage(
        &mut self,
        index: &mut Index<F>,
        at: u64,
        proof: &FrameHeader,
        size: u64,
    ) -> Result<(), OpenError> {
        self.segment.is_damaged = true;
        self.confirm(index, at)
            .map_err(|(at, fault)| damaged(&self.segment.source.name, at, fault))?;
        self.in_doubt.clear();
        let loss = scan::damaged::take_in_up_to(index, &mut self.segment, at..proof.durable, size)?;
        for header in loss.chains.iter().filter(|header| header.end() <= size) {
            let mut body = vec![0; header.length];
            let from = ByteCount::new(header.end()).get() - byte_count(header.length).get();
            self.segment.source.file.read_at(ByteCount::new(from), &mut body)?;
            if let Ok(chain) = Chain::decode(body.into()) {
                (self.chain, self.chain_at) = (Some(chain), header.position);
            }
        }
        if proof.position > proof.durable || proof.kind == FrameKind::Seal {
            self.set_last_before(proof.commit);
        }
        self.loss = Some(match self.loss.take() {
            Some(before) => before.then(loss),
            None => loss,
        });
        Ok(())
    }

    /// Notes that every commit before one stood in this file, whether it can be read or not.
    fn set_last_before(&mut self, commit: CommitNumber) {
        let last = CommitNumber::new(commit.get().saturating_sub(1));
        self.segment.last = self.segment.last.max(last);
    }
}
