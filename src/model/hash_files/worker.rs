//! A thread that hashes: two stretches at a time, and when none is left, reading for a thread that still has one.

use std::collections::VecDeque;

use super::crew::Crew;
use super::reading::{BUFFERS, Buffer, Feed, Open, Reader};
use super::stretch::{Cutter, Part};
use super::{HashError, Job};

/// A file shorter than this is read at once. While a thread hashes one, the kernel is asked for the next ones, so that
/// a slow disk has something to do.
const SMALL_BYTES: u64 = 1 << 20;

/// How many small files are open ahead. Disks and network volumes reach their speed with some tens of requests.
const SMALL_AHEAD: usize = 16;

/// From how many bytes on it is worth to wake another thread for reading them.
const WORTH_FEEDING_BYTES: u64 = 4 << 20;

/// One thread at work.
pub(super) struct Worker<'a, 'j> {
    job: &'j Job<'a>,
    buffers: Vec<Buffer>,
    ahead: VecDeque<Open<'a>>,
    parts: Vec<Part>,
}

/// A stretch that is being hashed.
struct Lane<'a> {
    open: Open<'a>,
    cutter: Cutter,
    source: Source,
    piece: Piece,
    /// How many bytes were read.
    read: u64,
}

enum Source {
    Own(Reader),
    Fed(Feed),
}

/// What was read and not hashed yet.
struct Piece {
    /// What this thread reads into.
    own: Buffer,
    /// What another thread has read into.
    fed: Option<Buffer>,
    /// Where in the latter, or else the former, it begins and has ended.
    from: usize,
    to: usize,
}

impl<'a, 'j> Worker<'a, 'j> {
    /// Hashes until nothing is left or somebody failed, then helps those who still hash.
    pub(super) fn run(job: &'j Job<'a>) -> Result<Vec<Part>, HashError> {
        let buffers = (0..BUFFERS).map(|_| Buffer::new()).collect();
        let mut worker = Worker { job, buffers, ahead: VecDeque::new(), parts: Vec::new() };
        let at_work = job.crew.begin();
        let result = worker.hash();
        if result.is_err() {
            job.crew.fail();
        }
        drop(at_work);
        job.crew.help(&mut worker.buffers);
        result.map(|()| worker.parts)
    }

    fn hash(&mut self) -> Result<(), HashError> {
        let mut lanes = [None, None];
        while !self.job.crew.has_failed() {
            self.supply(&mut lanes[0], true)?;
            // The second lane waits until everybody has a first one.
            self.supply(&mut lanes[1], self.job.crew.all_begun())?;
            let hashed = match &mut lanes {
                [Some(one), Some(other)] => hash_two(one, other),
                [Some(lane), None] | [None, Some(lane)] => hash_one(lane),
                [None, None] => break,
            };
            (self.job.advance)(hashed);
        }
        Ok(())
    }

    /// Sees to it that the lane has bytes to hash, of its stretch or of the next one, if it may begin that; empties it
    /// if there are none.
    fn supply(&mut self, lane: &mut Option<Lane<'a>>, may_begin: bool) -> Result<(), HashError> {
        loop {
            let Some(current) = lane else {
                let Some(open) = (if may_begin { self.take()? } else { None }) else { return Ok(()) };
                let buffer = self.buffers.pop().unwrap_or_else(Buffer::new);
                *lane = Some(Lane::new(open, buffer, self.job));
                continue;
            };
            if !current.piece.bytes().is_empty() || current.refill(&self.job.crew)? {
                return Ok(());
            }
            // Then nothing came because the feeder stopped.
            if self.job.crew.has_failed() {
                return Ok(());
            }
            if let Some(done) = lane.take() {
                self.parts.push(done.finish(self.job, &mut self.buffers)?);
            }
        }
    }

    /// Opens the next stretch.
    fn take(&mut self) -> Result<Option<Open<'a>>, HashError> {
        let job = self.job;
        let mut open = || job.queue.take().map(|stretch| Open::new(job.root, stretch, job.hashing)).transpose();
        let Some(next) = self.ahead.pop_front().map_or_else(&mut open, |ahead| Ok(Some(ahead)))? else {
            return Ok(None);
        };
        // Files come in the order of their lengths: after a small one there are only small ones.
        while next.stretch.bytes() < SMALL_BYTES && self.ahead.len() < SMALL_AHEAD {
            let Some(later) = open()? else { break };
            self.ahead.push_back(later);
        }
        Ok(Some(next))
    }
}

impl<'a> Lane<'a> {
    fn new(open: Open<'a>, own: Buffer, job: &Job<'a>) -> Self {
        let cutter = Cutter::new(&open.stretch, job.hashing);
        let source = Source::Own(open.reader());
        Lane { open, cutter, source, piece: Piece { own, fed: None, from: 0, to: 0 }, read: 0 }
    }

    /// Gets the next piece. There is none after the last, or if the file shrank, or if the feeder stopped.
    fn refill(&mut self, crew: &Crew) -> Result<bool, HashError> {
        if let Source::Own(reader) = &self.source
            && reader.left() >= WORTH_FEEDING_BYTES
            && crew.is_anyone_waiting()
        {
            let (feed, feeder) = Feed::new(reader.clone());
            if crew.ask(feeder) {
                self.source = Source::Fed(feed);
            }
        }
        if let (Source::Fed(feed), Some(hashed)) = (&self.source, self.piece.fed.take()) {
            feed.give_back(hashed);
        }
        if self.read == self.open.stretch.bytes() {
            return Ok(false);
        }
        let read = match &mut self.source {
            Source::Own(reader) => reader.read(&mut self.piece.own),
            Source::Fed(feed) => match feed.next() {
                Some(Ok((buffer, bytes))) => {
                    self.piece.fed = Some(buffer);
                    Ok(bytes)
                }
                Some(Err(error)) => Err(error),
                None => Ok(0),
            },
        };
        let bytes = read.map_err(|source| self.open.unreadable(source))?;
        (self.piece.from, self.piece.to) = (0, bytes);
        self.read += bytes as u64;
        Ok(bytes > 0)
    }

    /// What was computed, if the file is still the one that was met.
    fn finish(self, job: &Job<'a>, buffers: &mut Vec<Buffer>) -> Result<Part, HashError> {
        buffers.push(self.piece.own);
        if self.read != self.open.stretch.bytes() {
            return Err(self.open.changed());
        }
        self.open.check(job.root, job.hashing)?;
        Ok(self.cutter.finish(&self.open.stretch))
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        self.fed.as_ref().unwrap_or(&self.own).bytes(self.from, self.to)
    }
}

/// Hashes what waits in a lane; how many bytes that was.
fn hash_one(lane: &mut Lane<'_>) -> u64 {
    let bytes = lane.cutter.update(lane.piece.bytes());
    lane.piece.from += bytes;
    bytes as u64
}

/// Hashes what waits in both lanes, as much of one as of the other; how many bytes that was.
fn hash_two(one: &mut Lane<'_>, other: &mut Lane<'_>) -> u64 {
    let bytes = [one.piece.bytes(), other.piece.bytes()];
    let [hashed, other_hashed] = Cutter::update_two([&mut one.cutter, &mut other.cutter], bytes);
    one.piece.from += hashed;
    other.piece.from += other_hashed;
    (hashed + other_hashed) as u64
}
