//! A thread that hashes: several stretches at a time, and when none is left, whatever helps those that still have some.

use std::collections::VecDeque;
use std::mem;

use super::crew::{Crew, Task};
use super::handover::{Away, Hashed, Rest};
use super::open::{Open, Opener};
use super::reading::{Buffer, Feed, Reader};
use super::stretch::{Cutter, Part, SMALL_BYTES};
use super::{HashError, Job};

/// How many small files are open ahead. Disks and network volumes reach their speed with some tens of requests.
const SMALL_AHEAD: usize = 16;

/// From how many bytes on it is worth to wake another thread for them.
const WORTH_HELP_BYTES: u64 = 4 << 20;

/// One thread at work.
pub(super) struct Worker<'a, 'j> {
    job: &'j Job<'a>,
    opener: Opener<'a>,
    buffers: Vec<Buffer>,
    /// Small files that the kernel was asked to read.
    ahead: VecDeque<(Open<'a>, Reader)>,
    /// Stretches with which other threads go on.
    away: Vec<Away<'a>>,
    parts: Vec<Part>,
}

/// A stretch that is being hashed.
struct Lane<'a> {
    open: Open<'a>,
    cutter: Cutter,
    reader: Reader,
    /// What comes from another thread that reads instead.
    feed: Option<Feed>,
    piece: Piece,
    /// How many bytes were read.
    read: u64,
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
        let (ahead, away, parts) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut worker = Worker { job, opener, buffers, ahead, away, parts };
        let at_work = job.crew.begin();
        let result = worker.hash();
        if result.is_err() {
            job.crew.fail();
        }
        drop(at_work);
        job.crew.help(&mut |task| worker.help(task));
        result.map(|()| worker.parts)
    }

    fn help(&mut self, task: Task) {
        let is_over = || self.job.crew.has_failed();
        match task {
            Task::Feed(feeder) => feeder.run(&mut self.buffers, is_over),
            Task::Finish(rest) => {
                let mut buffer = self.buffer();
                rest.run(&mut buffer, self.job.advance, is_over);
                self.buffers.push(buffer);
            }
        }
    }

    fn buffer(&mut self) -> Buffer {
        self.buffers.pop().unwrap_or_else(|| Buffer::of_lane(self.job.lanes))
    }

    fn hash(&mut self) -> Result<(), HashError> {
        let mut lanes: Vec<Option<Lane<'a>>> = (0..self.job.lanes).map(|_| None).collect();
        while !self.job.crew.has_failed() {
            // One at most each time, so that the last one stays here.
            if lanes.iter().flatten().count() > 1 {
                lanes.iter_mut().any(|lane| self.hand_over(lane));
            }
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
        for away in mem::take(&mut self.away) {
            self.take_back(away)?;
        }
        self.opener.finish()
    }

    /// Has a thread that waits go on with the lane's stretch, if there is one and that is worth it; whether so.
    fn hand_over(&mut self, lane: &mut Option<Lane<'a>>) -> bool {
        let Some(ripe) = lane.take_if(|lane| lane.piece.bytes().is_empty() && lane.is_worth_help()) else {
            return false;
        };
        let Some(idler) = self.job.crew.keep_idler() else {
            *lane = Some(ripe);
            return false;
        };
        let Lane { open, cutter, reader, feed: _, piece, read } = ripe;
        self.buffers.push(piece.own);
        let (rest, away) = Rest::new(open, read, cutter, reader);
        self.away.push(away);
        idler.give(Task::Finish(rest));
        true
    }

    /// Waits for a stretch with which another thread went on.
    fn take_back(&mut self, away: Away<'a>) -> Result<(), HashError> {
        // What a thread that panicked or failed had is of no use, and the run fails with that.
        let Some(Hashed { cutter, reader, read }) = away.wait().filter(|_| !self.job.crew.has_failed()) else {
            return Ok(());
        };
        let read = away.read + read.map_err(|source| away.open.unreadable(source))?;
        self.keep(away.open, cutter, reader, read)
    }

    /// Sees to it that the lane has bytes to hash, of its stretch or of the next one, if it may begin that; empties it
    /// if there are none.
    fn supply(&mut self, lane: &mut Option<Lane<'a>>, may_begin: bool) -> Result<(), HashError> {
        loop {
            let Some(current) = lane else {
                let Some((open, reader)) = (if may_begin { self.take()? } else { None }) else { return Ok(()) };
                *lane = Some(Lane::new(open, reader, self.buffer(), self.job));
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

    /// Lets go of a lane whose stretch was read.
    fn finish(&mut self, lane: Lane<'a>) -> Result<(), HashError> {
        let Lane { open, cutter, reader, feed, piece, read } = lane;
        self.buffers.push(piece.own);
        let reader = feed.map_or(reader, |_| open.reader(open.stretch.end));
        self.keep(open, cutter, reader, read)
    }

    /// Keeps what was computed, if the file is still the one that was met.
    fn keep(&mut self, open: Open<'a>, cutter: Cutter, mut reader: Reader, read: u64) -> Result<(), HashError> {
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
        Lane { open, cutter, reader, feed: None, piece: Piece { own, fed: None, from: 0, to: 0 }, read: 0 }
    }

    /// Whether enough is left for another thread, and none reads it already.
    fn is_worth_help(&self) -> bool {
        self.feed.is_none() && self.reader.left() >= WORTH_HELP_BYTES
    }

    /// Gets the next piece. There is none after the last, or if the file shrank, or if the feeder stopped.
    fn refill(&mut self, crew: &Crew) -> Result<bool, HashError> {
        if self.is_worth_help()
            && let Some(idler) = crew.keep_idler()
        {
            let (feed, feeder) = Feed::new(self.reader.clone());
            idler.give(Task::Feed(feeder));
            self.feed = Some(feed);
        }
        if let (Some(feed), Some(hashed)) = (&self.feed, self.piece.fed.take()) {
            feed.give_back(hashed);
        }
        if self.read == self.open.stretch.bytes() {
            return Ok(false);
        }
        let read = match &self.feed {
            None => self.reader.read(&mut self.piece.own),
            Some(feed) => match feed.next() {
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
