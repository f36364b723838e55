//! Reading a stretch of a file, piece by piece.
//!
//! A stretch is read by the thread that hashes it, or by another one that has nothing to hash and feeds it.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;

/// What all buffers of a thread take together, in bytes. What was just copied into one is then still in the processor's
/// own cache when it is hashed.
pub(super) const BUFFERS_BYTES: usize = 1 << 20;

/// How much is read at once at most. BLAKE3 of what lies in the page cache takes 2 % less time than with half of it, which
/// is more than all system calls take: the larger the piece, the more of its tree is computed at once.
pub(super) const BUFFER_BYTES: usize = 512 << 10;

/// The start of a buffer lies on a page: the kernel then copies whole pages, which measured about a tenth faster.
const PAGE_BYTES: usize = 4096;

/// How far ahead of each stretch the kernel is asked to read, in bytes: at 2 GB/s this is 2 ms, longer than a network
/// volume takes to answer.
const AHEAD_BYTES: u64 = 4 << 20;

/// How much more the kernel is asked for at once, in bytes.
const ASKED_BYTES: u64 = 1 << 20;

/// A piece of memory to read into.
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// The buffers of a thread that hashes so many files at a time: one for each of them, and as many again so that the
    /// thread is ahead of another one that it feeds.
    pub(super) fn of_thread(lanes: usize) -> Vec<Buffer> {
        (0..BUFFERS_BYTES / Buffer::length(lanes)).map(|_| Buffer::of_lane(lanes)).collect()
    }

    /// One of them.
    pub(super) fn of_lane(lanes: usize) -> Buffer {
        let memory = vec![0; Buffer::length(lanes) + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Buffer { memory, start }
    }

    fn length(lanes: usize) -> usize {
        (BUFFERS_BYTES / (2 * lanes).next_power_of_two()).min(BUFFER_BYTES)
    }

    /// So many bytes that were read into it, from one of them on.
    pub(super) fn bytes(&self, from: usize, to: usize) -> &[u8] {
        &self.memory[self.start..][from..to]
    }

    fn room(&mut self) -> &mut [u8] {
        let bytes = self.memory.len() - PAGE_BYTES;
        &mut self.memory[self.start..][..bytes]
    }
}

/// Reads a stretch from its start to its end.
#[derive(Clone)]
pub(super) struct Reader {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// Whether the file should end where the stretch ends.
    is_last: bool,
    /// Whether it was seen to end there.
    saw_end: bool,
    /// Up to where the kernel was asked to read.
    asked: u64,
}

impl Reader {
    /// Asks the kernel to begin.
    pub(super) fn new(file: Arc<File>, start: u64, end: u64, is_last: bool) -> Self {
        let mut reader = Reader { file, at: start, end, is_last, saw_end: false, asked: start };
        reader.ask_for(start.saturating_add(AHEAD_BYTES));
        reader
    }

    /// How much is left, in bytes.
    pub(super) fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// Reads the next piece. Its length is 0 at the end of the stretch, and before it if the file shrank; there is a byte
    /// too many if the file grew.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        let ahead = self.at.saturating_add(AHEAD_BYTES);
        if ahead.saturating_sub(self.asked) >= ASKED_BYTES {
            self.ask_for(ahead);
        }
        self.read_into(buffer.room())
    }

    /// Whether the file ends where it should, after all of the stretch was read.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(!self.is_last || self.saw_end || self.read_into(&mut [0])? == 0)
    }

    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more is asked for than there should be: that there is none shows that the file ends here.
        let (left, more) = (self.left(), u64::from(self.is_last));
        let most = usize::try_from(left.saturating_add(more)).unwrap_or(buffer.len()).min(buffer.len());
        loop {
            match self.file.read_at(&mut buffer[..most], self.at) {
                Ok(bytes) => {
                    self.at += bytes as u64;
                    self.saw_end = bytes as u64 == left && bytes < most;
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks the kernel to read ahead. A hint for slow disks, so that it may fail.
    fn ask_for(&mut self, to: u64) {
        let to = to.min(self.end);
        if let Some(bytes) = to.checked_sub(self.asked).and_then(NonZeroU64::new) {
            // The kernel looks at each page to find that all are there, which takes BLAKE3 3 % more time.
            if !self.is_in_memory(to - 1) {
                let _ = rustix::fs::fadvise(&*self.file, self.asked, Some(bytes), Advice::WillNeed);
            }
            self.asked = to;
        }
    }

    /// Whether a byte can be read without waiting for a disk: then those before it were read as well, as a rule. Where it
    /// cannot, the kernel begins to read its page. A file system that cannot tell says no.
    fn is_in_memory(&self, at: u64) -> bool {
        let mut byte = [0];
        let mut into = [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(&*self.file, &mut into, at, ReadWriteFlags::NOWAIT) == Ok(1)
    }
}

/// What one thread reads and another one hashes.
pub(super) struct Feed {
    full: Receiver<io::Result<(Buffer, usize)>>,
    empty: Sender<Buffer>,
}

/// The reading end of a [`Feed`].
pub(super) struct Feeder {
    reader: Reader,
    full: Sender<io::Result<(Buffer, usize)>>,
    empty: Receiver<Buffer>,
}

impl Feed {
    /// Both ends. No more than the feeder's own buffers is ever on the way.
    pub(super) fn new(reader: Reader) -> (Feed, Feeder) {
        let (full_in, full) = channel();
        let (empty, empty_out) = channel();
        (Feed { full, empty }, Feeder { reader, full: full_in, empty: empty_out })
    }

    /// Waits for the next piece. Nothing comes if the feeder stopped before the end.
    pub(super) fn next(&self) -> Option<io::Result<(Buffer, usize)>> {
        self.full.recv().ok()
    }

    /// Gives a buffer back.
    pub(super) fn give_back(&self, buffer: Buffer) {
        // A feeder that failed does not wait for it.
        let _ = self.empty.send(buffer);
    }
}

impl Feeder {
    /// Reads to the end, or until nobody wants it any more.
    pub(super) fn run(mut self, buffers: &mut Vec<Buffer>, is_over: impl Fn() -> bool) {
        while !is_over() {
            let Some(mut buffer) = buffers.pop().or_else(|| self.empty.recv().ok()) else { return };
            let read = self.reader.read(&mut buffer);
            let was_last = self.reader.left() == 0 || !matches!(read, Ok(1..));
            if self.full.send(read.map(|bytes| (buffer, bytes))).is_err() || was_last {
                break;
            }
        }
        drop(self.full);
        // The other thread gives them back as it hashes, until it ends.
        buffers.extend(self.empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn what_was_just_written_is_in_memory_and_what_is_not_there_is_not() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 10_000], 0).unwrap();
        let reader = Reader::new(Arc::new(file), 0, 10_000, true);
        // A tmpfs cannot tell.
        let at_once = rustix::io::preadv2(&*reader.file, &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT);
        assert_eq!(reader.is_in_memory(9_999), at_once != Err(Errno::OPNOTSUPP));
        assert!(!reader.is_in_memory(10_000));
    }
}
