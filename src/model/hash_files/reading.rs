//! Reading a stretch of a file, piece by piece, and noticing when it is no longer the file that was met.
//!
//! A stretch is read by the thread that hashes it, or by another one that has nothing to hash and feeds it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::Advice;

use super::stretch::Stretch;
use super::{HashError, Hashing};
use crate::model::{Folder, shown};

/// How much is read at once: at the speeds of memory the time of a system call no longer counts, and what was just
/// copied is still in the processor's own cache when it is hashed.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// How many of those a thread has: one for each of the two files that it hashes, and as many again so that a thread
/// that feeds another one is ahead of it.
pub(super) const BUFFERS: usize = 4;

/// The start of a buffer lies on a page: the kernel then copies whole pages, which measured about a tenth faster.
const PAGE_BYTES: usize = 4096;

/// How far ahead of each stretch the kernel is asked to read, in bytes: at 2 GB/s this is 2 ms, longer than a network
/// volume takes to answer.
const AHEAD_BYTES: u64 = 4 << 20;

/// A piece of memory to read into.
pub(super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Buffer { memory, start }
    }

    /// So many bytes that were read into it, from one of them on.
    pub(super) fn bytes(&self, from: usize, to: usize) -> &[u8] {
        &self.memory[self.start..][from..to]
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..BUFFER_BYTES]
    }
}

/// An open stretch.
pub(super) struct Open<'a> {
    pub(super) stretch: Stretch<'a>,
    file: Arc<File>,
}

impl<'a> Open<'a> {
    /// Opens a stretch of the very file that was met, and asks the kernel to begin reading it.
    pub(super) fn new(root: &Folder, stretch: Stretch<'a>, hashing: &Hashing) -> Result<Self, HashError> {
        let (file, seen) = root.file(&stretch.file.name, hashing.links)?;
        let open = Open { stretch, file: Arc::new(file) };
        if seen.identity != stretch.file.identity {
            return Err(open.changed());
        }
        open.reader().advise(stretch.start, AHEAD_BYTES);
        Ok(open)
    }

    /// Somebody who reads it.
    pub(super) fn reader(&self) -> Reader {
        Reader { file: Arc::clone(&self.file), at: self.stretch.start, end: self.stretch.end }
    }

    /// Looks whether the file ends where it ended, and whether its name still leads to it, in the same state, after
    /// all of the stretch was read. Otherwise somebody wrote in the meantime.
    pub(super) fn check(&self, root: &Folder, hashing: &Hashing) -> Result<(), HashError> {
        let met = self.stretch.file;
        if self.stretch.end == met.bytes {
            let mut one_more = Reader { file: Arc::clone(&self.file), at: met.bytes, end: u64::MAX };
            if one_more.read_into(&mut [0]).map_err(|source| self.unreadable(source))? > 0 {
                return Err(self.changed());
            }
        }
        let after = root.look(&met.name, hashing.links)?.ok_or_else(|| self.changed())?;
        if after.identity == met.identity { Ok(()) } else { Err(self.changed()) }
    }

    pub(super) fn changed(&self) -> HashError {
        HashError::Changed { path: shown(self.stretch.file.name.as_str()) }
    }

    pub(super) fn unreadable(&self, source: io::Error) -> HashError {
        HashError::Read { path: shown(self.stretch.file.name.as_str()), source }
    }
}

/// Reads a stretch from its start to its end.
#[derive(Clone)]
pub(super) struct Reader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Reader {
    /// How much is left, in bytes.
    pub(super) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// Reads the next piece; its length is 0 at the end of the stretch, and before it if the file shrank.
    pub(super) fn read(&mut self, buffer: &mut Buffer) -> io::Result<usize> {
        self.advise(self.at.saturating_add(AHEAD_BYTES), BUFFER_BYTES as u64);
        self.read_into(buffer.room())
    }

    fn read_into(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left()).unwrap_or(buffer.len()).min(buffer.len());
        loop {
            match self.file.read_at(&mut buffer[..most], self.at) {
                Ok(bytes) => {
                    self.at += bytes as u64;
                    return Ok(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks the kernel to read so many bytes ahead. A hint for slow disks, so that it may fail.
    fn advise(&self, at: u64, bytes: u64) {
        let bytes = bytes.min(self.end.saturating_sub(at));
        if let Some(bytes) = std::num::NonZeroU64::new(bytes) {
            let _ = rustix::fs::fadvise(&*self.file, at, Some(bytes), Advice::WillNeed);
        }
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
