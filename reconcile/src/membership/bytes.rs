//! Who takes part, as bytes of a snapshot.
//!
//! Each part that a later version has more stands behind those of the one before, which are read
//! without it.

use std::collections::BTreeMap;

use headland_event::Gaps;

use super::word::Word;
use super::{Cut, Member, Membership, OtherLogs};
use crate::escrow::Holder;
use crate::snapshot::RestoreError;

impl Membership {
    /// All of it as bytes of a snapshot: lives, then what each said is missing, then what each said
    /// its log lost, then where each said that other logs end, then what the report in effect said
    /// is missing, then up to where other logs are whole, then what each said of itself. O(lives ×
    /// actors).
    ///
    /// # Panics
    /// Never: plain data always has an encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let said = |of: fn(&Member) -> &Gaps| -> BTreeMap<&Holder, &Gaps> {
            let said = self.members.iter().map(|(life, member)| (life, of(member)));
            said.filter(|(_, gaps)| !gaps.is_empty()).collect()
        };
        let (missing, lost) = (said(|member| &member.missing), said(|member| &member.lost));
        let others = self.members.iter();
        let others: BTreeMap<&Holder, &OtherLogs> =
            others.filter_map(|(life, member)| Some((life, member.others.as_ref()?))).collect();
        let cut = others.iter().map(|(life, others)| (*life, others.cut()));
        let cut: BTreeMap<&Holder, &Cut> = cut.filter(|(_, cut)| !cut.is_empty()).collect();
        let words = self.members.iter().map(|(life, member)| (life, &member.word));
        let words: BTreeMap<&Holder, &Word> = words.collect();
        let unseen = said(|member| &member.unseen);
        let all = (self, missing, lost, &others, unseen, cut, words);
        #[expect(clippy::expect_used, reason = "plain data whose lengths are known, into memory")]
        postcard::to_stdvec(&all).expect("plain data always has an encoding")
    }

    /// Reads what [`Self::to_bytes`] wrote, or an earlier version that knew of nothing missing.
    /// O(bytes).
    ///
    /// # Errors
    /// [`RestoreError`] when the bytes are no members.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RestoreError> {
        let layout = |error: postcard::Error| RestoreError::Bytes { detail: error.to_string() };
        let (mut read, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(layout)?;
        if rest.is_empty() {
            return Ok(read);
        }
        type Said = BTreeMap<Holder, Gaps>;
        let (missing, rest) = postcard::take_from_bytes::<Said>(rest).map_err(layout)?;
        for (life, missing) in missing {
            if let Some(member) = read.members.get_mut(&life) {
                // Snapshots of before do not say which of it is in effect.
                (member.missing, member.unseen) = (missing.clone(), missing);
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        let (lost, rest) = postcard::take_from_bytes::<Said>(rest).map_err(layout)?;
        for (life, lost) in lost {
            if let Some(member) = read.members.get_mut(&life) {
                member.lost = lost;
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        type Others = BTreeMap<Holder, OtherLogs>;
        let (others, rest) = postcard::take_from_bytes::<Others>(rest).map_err(layout)?;
        for (life, others) in others {
            if let Some(member) = read.members.get_mut(&life) {
                member.others = Some(others);
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        let (mut unseen, rest) = postcard::take_from_bytes::<Said>(rest).map_err(layout)?;
        for (life, member) in &mut read.members {
            member.unseen = unseen.remove(life).unwrap_or_default();
        }
        if rest.is_empty() {
            return Ok(read);
        }
        type Cuts = BTreeMap<Holder, Cut>;
        let (mut cut, rest) = postcard::take_from_bytes::<Cuts>(rest).map_err(layout)?;
        for (life, member) in &mut read.members {
            if let Some((others, cut)) = member.others.as_mut().zip(cut.remove(life)) {
                others.restore_cut(cut);
            }
        }
        if rest.is_empty() {
            return Ok(read);
        }
        let mut words = postcard::from_bytes::<BTreeMap<Holder, Word>>(rest).map_err(layout)?;
        for (life, member) in &mut read.members {
            member.word = words.remove(life).unwrap_or_default();
        }
        Ok(read)
    }
}
