//! A stretch that one thread has begun to hash, and another one, which has nothing to hash, goes on with.
//!
//! A thread that hashes several stretches at a time gets on with each of them slower than one that has it to itself. Near
//! the end there would else be threads that have several left beside threads that have none.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::open::Open;
use super::reading::{Buffer, Reader};
use super::stretch::Cutter;

/// The rest of a stretch, for whoever goes on with it.
pub(super) struct Rest {
    cutter: Cutter,
    reader: Reader,
    back: Sender<Hashed>,
}

/// A stretch of which another thread hashes the rest.
pub(super) struct Away<'a> {
    pub(super) open: Open<'a>,
    /// How many bytes of it were read before, and are taken in.
    pub(super) read: u64,
    back: Receiver<Hashed>,
}

/// What became of the rest of a stretch.
pub(super) struct Hashed {
    /// All that was read is taken in.
    pub(super) cutter: Cutter,
    pub(super) reader: Reader,
    /// How many bytes that was, or why no more can be read. The last ones of a file that grew are counted, and not
    /// taken in.
    pub(super) read: io::Result<u64>,
}

impl Rest {
    /// The rest of a stretch, from where the reader is, and where it comes back.
    pub(super) fn new<'a>(open: Open<'a>, read: u64, cutter: Cutter, reader: Reader) -> (Rest, Away<'a>) {
        let (to, back) = channel();
        (Rest { cutter, reader, back: to }, Away { open, read, back })
    }

    /// Reads and hashes to the end of the stretch, or of the file if that shrank, or until it is over.
    pub(super) fn run(mut self, buffer: &mut Buffer, advance: &dyn Fn(u64), is_over: impl Fn() -> bool) {
        let read = self.hash(buffer, advance, is_over);
        // A thread that failed does not wait for it.
        let _ = self.back.send(Hashed { cutter: self.cutter, reader: self.reader, read });
    }

    fn hash(&mut self, buffer: &mut Buffer, advance: &dyn Fn(u64), is_over: impl Fn() -> bool) -> io::Result<u64> {
        let mut sum = 0;
        while self.reader.left() > 0 && !is_over() {
            let left = self.reader.left();
            let bytes = self.reader.read(buffer)?;
            sum += bytes as u64;
            if bytes == 0 || bytes as u64 > left {
                break;
            }
            self.cutter.update(buffer.bytes(0, bytes));
            advance(bytes as u64);
        }
        Ok(sum)
    }
}

impl Away<'_> {
    /// Waits for it. Nothing comes from a thread that panicked.
    pub(super) fn wait(&self) -> Option<Hashed> {
        self.back.recv().ok()
    }
}
