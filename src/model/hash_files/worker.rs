//! A thread that hashes: several stretches at a time, and when none is left, reading for a thread that still has one.

use std::collections::VecDeque;

use super::crew::Crew;
use super::open::{Open, Opener};
use super::reading::{Buffer, Feed, Reader};
use super::stretch::{Cutter, Part, SMALL_BYTES};
use super::{HashError, Job};

/// How many small files are open ahead. Disks and network volumes reach their speed with some tens of requests.
const SMALL_AHEAD: usize = 16;

/// From how many bytes on it is worth to wake another thread for reading them.
const WORTH_FEEDING_BYTES: u64 = 4 << 20;

/// One thread at work.
pub(super) struct Worker<'a, 'j> {
    job: &'j Job<'a>,
    opener: Opener<'a>,
    buffers: Vec<Buffer>,
    /// Small files that the kernel was asked to read.
    ahead: VecDeque<(Open<'a>, Reader)>,
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
        let (buffers, opener) = (Buffer::of_thread(job.lanes), Opener::new(job.root, job.hashing.links));
        let mut worker = Worker { job, opener, buffers, ahead: VecDeque::new(), parts: Vec::new() };
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
        let mut lanes: Vec<Option<Lane<'a>>> = (0..self.job.lanes).map(|_| None).collect();
        while !self.job.crew.has_failed() {
            for (at, lane) in lanes.iter_mut().enumerate() {
                // All lanes but the first wait until everybody has a first one.
                self.supply(lane, at == 0 || self.job.crew.all_begun())?;
            }
            let mut full: Vec<&mut Lane<'a>> = lanes.iter_mut().flatten().collect();
            if full.is_empty() {
                break;
            }
            (self.job.advance)(hash(&mut full));
        }
        self.opener.finish()
    }

    /// Sees to it that the lane has bytes to hash, of its stretch or of the next one, if it may begin that; empties it
    /// if there are none.
    fn supply(&mut self, lane: &mut Option<Lane<'a>>, may_begin: bool) -> Result<(), HashError> {
        loop {
            let Some(current) = lane else {
                let Some((open, reader)) = (if may_begin { self.take()? } else { None }) else { return Ok(()) };
                let buffer = self.buffers.pop().unwrap_or_else(|| Buffer::of_lane(self.job.lanes));
                *lane = Some(Lane::new(open, reader, buffer, self.job));
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
                self.finish(done)?;
            }
        }
    }

    /// Opens the next stretch.
    fn take(&mut self) -> Result<Option<(Open<'a>, Reader)>, HashError> {
        let next = match self.ahead.pop_front() {
            Some(ahead) => Some(ahead),
            None => self.open()?,
        };
        // Small files come last: after one there are only small ones.
        while next.as_ref().is_some_and(|(open, _)| open.stretch.file.bytes < SMALL_BYTES)
            && self.ahead.len() < SMALL_AHEAD
            && let Some(later) = self.open()?
        {
            self.ahead.push_back(later);
        }
        Ok(next)
    }

    fn open(&mut self) -> Result<Option<(Open<'a>, Reader)>, HashError> {
        let Some(stretch) = self.job.queue.take() else { return Ok(None) };
        let open = self.opener.open(stretch)?;
        let reader = open.reader(stretch.start);
        Ok(Some((open, reader)))
    }

    /// Keeps what was computed, if the file is still the one that was met.
    fn finish(&mut self, lane: Lane<'a>) -> Result<(), HashError> {
        let Lane { open, cutter, source, piece, read } = lane;
        self.buffers.push(piece.own);
        let mut reader = match source {
            Source::Own(reader) => reader,
            Source::Fed(_) => open.reader(open.stretch.end),
        };
        if read != open.stretch.bytes() || !reader.is_at_end().map_err(|source| open.unreadable(source))? {
            return Err(open.changed());
        }
        self.parts.push(cutter.finish(&open.stretch));
        self.opener.close(open)
    }
}

impl<'a> Lane<'a> {
    fn new(open: Open<'a>, reader: Reader, own: Buffer, job: &Job<'a>) -> Self {
        let cutter = Cutter::new(&open.stretch, job.hashing);
        Lane { open, cutter, source: Source::Own(reader), piece: Piece { own, fed: None, from: 0, to: 0 }, read: 0 }
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
        if self.read > self.open.stretch.bytes() {
            return Err(self.open.changed());
        }
        Ok(bytes > 0)
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        self.fed.as_ref().unwrap_or(&self.own).bytes(self.from, self.to)
    }
}

/// Hashes what waits in the lanes, as much of one as of the others; how many bytes that was.
fn hash(lanes: &mut [&mut Lane<'_>]) -> u64 {
    let work = lanes.iter_mut().map(|lane| (&mut lane.cutter, lane.piece.bytes())).collect();
    let hashed = Cutter::update_all(work);
    lanes.iter_mut().for_each(|lane| lane.piece.from += hashed);
    (lanes.len() * hashed) as u64
}
