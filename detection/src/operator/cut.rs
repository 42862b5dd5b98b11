//! Snapshots of operators whose state is one map and a few numbers.

use headland_event::codec::Writer;

use crate::operator::keyed::{Keyed, Progress, State};

/// What stands before the entries of a map, until it is written.
#[derive(Debug, Default)]
pub(crate) struct Header(Option<Writer>);

impl Header {
    /// Begins a snapshot: `write` gives the numbers, then follow the entries of `entries`.
    pub(crate) fn begin<V: State>(
        &mut self,
        entries: &mut Keyed<V>,
        write: impl FnOnce(&mut Writer),
    ) {
        let mut writer = Writer::new();
        write(&mut writer);
        entries.begin_cut(&mut writer);
        self.0 = Some(writer);
    }

    /// Goes on with the snapshot.
    pub(crate) fn poll<V: State>(
        &mut self,
        entries: &mut Keyed<V>,
        budget: usize,
        writer: &mut Writer,
    ) -> Progress {
        if let Some(header) = self.0.take() {
            writer.raw(header.as_slice());
        }
        entries.poll_cut(budget, writer)
    }
}
