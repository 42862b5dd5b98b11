//! Where a data directory lies, so that a copy of it is told from the original.
//!
//! ```text
//! place v2, 40 bytes:  magic "HLDPLACE" │ version u16 2
//!                      │ known u16 1 file, 2 made, 4 machine; 8 life over, 16 renewed
//!                      │ file u64 │ made u64 ns │ machine u64, each 0 where it is not known
//!                      │ crc u32 of all before
//! ```
//! Two that go on from one directory and its copy would give other records the same dots. So who
//! asks for it by [`OnCopy::NewLife`] begins a new life where the directory does not lie where it
//! was last opened: what was written before has the same dots in both, and what is written from
//! there on has dots of its own. One that was moved inside its file system lies where it did. A
//! copy of a whole file system is not told from its original, nor is one that was taken back with
//! all that is in it. Who learns of that otherwise says here that the life is over, and begins
//! another one at the next opening. One that began so says that it did: what made the one before
//! end, often the word of somebody else, should not end this one too. Versions before that know
//! neither bit, and go on.
//!
//! A new life that nobody needs costs more than a copy that is found later. So only what is known
//! on both sides and differs is evidence; a file that is missing, damaged or of another version
//! says nothing, and is written anew.

use bytes::Bytes;
use headland_event::codec::{Reader, Writer};

use crate::fault::Fault;
use crate::frame::check_crc;
use crate::medium::{Medium, MediumError};

/// Name of the file.
pub(crate) const PLACE_NAME: &str = "place";

const MAGIC: [u8; 8] = *b"HLDPLACE";
const PLACE_VERSION: u16 = 2;

/// What opening does with a directory that is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCopy {
    /// It goes on as the life it finds, and does not look.
    #[default]
    GoOn,
    /// It goes on as a new life.
    NewLife,
}

/// Where a directory lies, as far as its medium can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The number of its lock's file in the file system.
    pub file: Option<u64>,
    /// When that file was made, in nanoseconds since 1970.
    pub made: Option<u64>,
    /// The machine.
    pub machine: Option<u64>,
}

/// What is said of a life beside where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing.
    #[default]
    Usual,
    /// It is over: the next opening begins another one.
    Over,
    /// It began because the one before was over.
    Renewed,
}

impl Standing {
    /// How the life stands that goes on from one that stands so.
    pub(crate) const fn of_next(self) -> Self {
        match self {
            Self::Usual => Self::Usual,
            Self::Over | Self::Renewed => Self::Renewed,
        }
    }
}

/// Where a directory was when it was last opened, and what was said of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Kept {
    place: Place,
    standing: Standing,
}

/// Whether a directory lies where it was last opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lies {
    /// Here, and that is written down.
    Here,
    /// Here, as far as anybody can say; what is written down says less, or otherwise.
    Unsaid,
    /// Elsewhere.
    Elsewhere,
}

impl Place {
    /// Whether a directory that was at `self` and is at `now` is a copy.
    ///
    /// The same file made at the same time is the same directory, whatever its machine is called
    /// now: some get another name at every start.
    fn is_copied_to(self, now: Self) -> bool {
        let differ = |was: Option<u64>, is: Option<u64>| was.zip(is).is_some_and(|(a, b)| a != b);
        if differ(self.file, now.file) || differ(self.made, now.made) {
            return true;
        }
        let is_sure = [self.file, self.made, now.file, now.made].iter().all(Option::is_some);
        !is_sure && differ(self.machine, now.machine)
    }
}

/// Finds out whether the directory is where it was, and how its life stands.
pub(crate) fn look<M: Medium>(medium: &M) -> Result<(Lies, Standing), MediumError> {
    let now = medium.place()?;
    let Some(Kept { place, standing }) = kept(medium)? else {
        return Ok((Lies::Unsaid, Standing::Usual));
    };
    let lies = match place {
        place if place == now => Lies::Here,
        place if place.is_copied_to(now) => Lies::Elsewhere,
        _ => Lies::Unsaid,
    };
    Ok((lies, standing))
}

/// Writes down where the directory lies, and how its life stands.
pub(crate) fn keep<M: Medium>(medium: &mut M, standing: Standing) -> Result<(), MediumError> {
    let place = medium.place()?;
    medium.replace(PLACE_NAME, &encode(Kept { place, standing }))
}

fn kept<M: Medium>(medium: &M) -> Result<Option<Kept>, MediumError> {
    Ok(medium.load(PLACE_NAME)?.and_then(|content| decode(content).ok()))
}

const OVER: u16 = 8;
const RENEWED: u16 = 16;

fn encode(kept: Kept) -> Bytes {
    let Kept { place: Place { file, made, machine }, standing } = kept;
    let known = [(file, 1_u16), (made, 2), (machine, 4)];
    let known: u16 = known.iter().filter(|(what, _)| what.is_some()).map(|(_, bit)| bit).sum();
    let standing = match standing {
        Standing::Usual => 0,
        Standing::Over => OVER,
        Standing::Renewed => RENEWED,
    };
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.u16(PLACE_VERSION);
    writer.u16(known | standing);
    for what in [file, made, machine] {
        writer.u64(what.unwrap_or_default());
    }
    writer.u32(crc32c::crc32c(writer.as_slice()));
    writer.finish()
}

fn decode(content: Bytes) -> Result<Kept, Fault> {
    check_crc("place", &content)?;
    let mut reader = Reader::new(content);
    if *reader.take("place magic", MAGIC.len())? != MAGIC {
        return Err(Fault::Magic);
    }
    let found = reader.u16("place version")?;
    if found != PLACE_VERSION {
        let (field, expected) = ("place version", PLACE_VERSION);
        return Err(Fault::Version { field, found, expected });
    }
    let known = reader.u16("known of a place")?;
    let standing = match (known & OVER != 0, known & RENEWED != 0) {
        (true, _) => Standing::Over,
        (false, true) => Standing::Renewed,
        (false, false) => Standing::Usual,
    };
    let mut next = |field, bit| Ok::<_, Fault>((reader.u64(field)?, known & bit != 0));
    let [file, made, machine] = [next("file", 1)?, next("made", 2)?, next("machine", 4)?]
        .map(|(value, is)| is.then_some(value));
    Ok(Kept { place: Place { file, made, machine }, standing })
}

#[cfg(test)]
mod tests {
    use headland_event::Incarnation;

    use super::*;
    use crate::log::LogStore;
    use crate::memory::{MemoryDisk, MemoryStore};
    use crate::store::OpenOptions;

    fn life(disk: &MemoryDisk, nonce: u64, on_copy: OnCopy) -> Incarnation {
        let options = OpenOptions { on_copy, ..OpenOptions::new(nonce) };
        let store = MemoryStore::open(disk, options).unwrap();
        let life = store.incarnation();
        store.close().unwrap();
        life
    }

    #[test]
    fn a_copy_goes_on_as_a_life_of_its_own_and_the_original_as_it_was() {
        let disk = MemoryDisk::new(1);
        let first = life(&disk, 1, OnCopy::NewLife);
        let copy = disk.fork();
        copy.move_to(2);

        let copied = [life(&copy, 2, OnCopy::NewLife), life(&copy, 3, OnCopy::NewLife)];
        let original = life(&disk, 4, OnCopy::NewLife);

        assert_eq!((first, original), (Incarnation::new(1, 1), first));
        assert_eq!((copied[0].counter(), copied[1]), (2, copied[0]));
        assert_ne!(copied[0], first);
    }

    #[test]
    fn a_life_that_is_over_is_followed_by_one_that_says_so_also_where_it_was_opened_before() {
        let disk = MemoryDisk::new(1);
        let options = |nonce| OpenOptions { on_copy: OnCopy::NewLife, ..OpenOptions::new(nonce) };
        let mut store = MemoryStore::open(&disk, options(1)).unwrap();
        let first = (store.incarnation(), store.report().standing);
        store.end_life().unwrap();
        store.close().unwrap();

        let next = [2, 3].map(|nonce| {
            let store = MemoryStore::open(&disk, options(nonce)).unwrap();
            let report = store.report();
            let found = (store.incarnation(), report.standing, report.renewed, report.copied);
            store.close().unwrap();
            found
        });

        assert_eq!(first, (Incarnation::new(1, 1), Standing::Usual));
        let second = next[0].0;
        assert_eq!(second.counter(), 2);
        assert_eq!(next[0], (second, Standing::Renewed, true, false));
        assert_eq!(next[1], (second, Standing::Renewed, false, false));
    }

    #[test]
    fn a_directory_of_an_earlier_version_goes_on_as_it_was_and_its_copy_from_then_on_does_not() {
        let disk = MemoryDisk::new(1);
        let first = life(&disk, 1, OnCopy::GoOn);
        let taken_up = life(&disk, 2, OnCopy::NewLife);
        disk.move_to(2);

        assert_eq!(taken_up, first);
        assert_eq!(life(&disk, 3, OnCopy::GoOn), first, "who does not ask is not told");
        assert_ne!(life(&disk, 4, OnCopy::NewLife), first);
    }

    #[test]
    fn only_what_is_known_on_both_sides_and_differs_makes_a_copy() {
        let at = |file, made, machine| Place { file, made, machine };
        let was = at(Some(1), Some(2), Some(3));
        let copied = |was: Place, now| was.is_copied_to(now);

        assert!(copied(was, at(Some(9), Some(2), Some(3))), "another file");
        assert!(copied(was, at(Some(1), Some(9), Some(3))), "made at another time");
        assert!(!copied(was, at(Some(1), Some(2), Some(9))), "a machine that is renamed");
        assert!(copied(at(Some(1), None, Some(3)), at(Some(1), None, Some(9))), "nothing surer");
        for unknown in [at(None, Some(2), Some(3)), at(Some(1), None, None), Place::default()] {
            assert!(!copied(was, unknown) && !copied(unknown, was), "{unknown:?}");
        }
    }

    #[test]
    fn a_place_that_is_damaged_or_of_another_version_says_nothing_and_is_written_anew() {
        let disk = MemoryDisk::new(1);
        let first = life(&disk, 1, OnCopy::NewLife);
        let whole = disk.attach().load(PLACE_NAME).unwrap().unwrap();
        let mut later = whole[..whole.len() - 4].to_vec();
        later[9] = 3;
        let crc = crc32c::crc32c(&later);
        later.extend(crc.to_be_bytes());

        for content in [b"HLDPLACE".to_vec(), later] {
            disk.attach().replace(PLACE_NAME, &content).unwrap();
            assert_eq!(life(&disk, 2, OnCopy::NewLife), first);
            assert_eq!(disk.attach().load(PLACE_NAME).unwrap().unwrap(), whole);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_place_is_found() {
        let place = Place { file: Some(7), made: None, machine: Some(0) };
        let kept = Kept { place, standing: Standing::Renewed };
        let content = encode(kept);

        assert_eq!(decode(content.clone()), Ok(kept));
        for bit in 0..content.len() * 8 {
            let mut flipped = content.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(flipped.into()).is_err(), "bit {bit}");
        }
    }
}
