//! Who holds how much: caps for everybody together and for each peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Limits;
use super::metrics::Refusal;

/// Bytes are counted in KiB: a semaphore counts in `u32`.
const KIB: usize = 1024;

/// The caps of a listener.
#[derive(Debug)]
pub(super) struct Peers {
    everybody: Arc<Caps>,
    by_address: Mutex<HashMap<IpAddr, Weak<Caps>>>,
    limits: Limits,
}

/// What is left of each cap.
#[derive(Debug)]
struct Caps {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    bodies_kib: Arc<Semaphore>,
}

/// One peer's caps and everybody's, for the life of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    own: Arc<Caps>,
    everybody: Arc<Caps>,
    body_bytes: usize,
    _connection: [OwnedSemaphorePermit; 2],
}

/// What is held while something lasts.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Peers {
    pub(super) fn new(limits: Limits) -> Self {
        let everybody =
            Caps::new(limits.connections, limits.handshakes, limits.requests, limits.bodies_in_flight_bytes);
        Peers { everybody, by_address: Mutex::default(), limits }
    }

    /// Lets a connection in, or says why not.
    pub(super) fn connect(&self, address: IpAddr) -> Result<Peer, Refusal> {
        let own = self.of(address);
        let permit = |caps: &Caps| Arc::clone(&caps.connections).try_acquire_owned();
        let first = permit(&own).map_err(|_| Refusal::PeerConnections)?;
        let second = permit(&self.everybody).map_err(|_| Refusal::Connections)?;
        let everybody = Arc::clone(&self.everybody);
        Ok(Peer { own, everybody, body_bytes: self.limits.body_bytes, _connection: [first, second] })
    }

    /// The caps of one peer, which last as long as it holds a connection.
    fn of(&self, address: IpAddr) -> Arc<Caps> {
        // An IPv4 address is the same peer when it comes by an IPv6 socket.
        let address = address.to_canonical();
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(caps) = by_address.get(&address).and_then(Weak::upgrade) {
            return caps;
        }
        by_address.retain(|_, caps| caps.strong_count() > 0);
        let caps = Caps::new(
            self.limits.peer_connections,
            self.limits.peer_handshakes,
            self.limits.peer_requests,
            self.limits.peer_bodies_in_flight_bytes,
        );
        by_address.insert(address, Arc::downgrade(&caps));
        caps
    }
}

impl Peer {
    /// Waits until a handshake may begin.
    pub(super) async fn handshake(&self) -> Turn {
        let mut permits = Vec::with_capacity(2);
        // One's own cap first: whoever has used it up does not stand in the way of others.
        for caps in [&self.own, &self.everybody] {
            permits.extend(Arc::clone(&caps.handshakes).acquire_owned().await);
        }
        Turn { _permits: permits }
    }

    /// Waits until a request with a body of this length may be worked on; without a length the longest is assumed.
    pub(super) async fn request(&self, body_bytes: Option<u64>) -> Turn {
        let longest = self.body_bytes;
        let bytes =
            body_bytes.and_then(|bytes| usize::try_from(bytes).ok()).map_or(longest, |bytes| bytes.min(longest));
        let kib = u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX);
        let mut permits = Vec::with_capacity(4);
        for caps in [&self.own, &self.everybody] {
            permits.extend(Arc::clone(&caps.requests).acquire_owned().await);
            permits.extend(Arc::clone(&caps.bodies_kib).acquire_many_owned(kib).await);
        }
        Turn { _permits: permits }
    }
}

impl Caps {
    fn new(connections: usize, handshakes: usize, requests: usize, bodies_bytes: usize) -> Arc<Self> {
        let cap = |size| Arc::new(Semaphore::new(size));
        Arc::new(Caps {
            connections: cap(connections),
            handshakes: cap(handshakes),
            requests: cap(requests),
            bodies_kib: cap(bodies_bytes.div_ceil(KIB)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn peers() -> Peers {
        let limits = Limits { connections: 3, peer_connections: 2, requests: 2, peer_requests: 1, ..Limits::default() };
        Peers::new(limits)
    }

    #[test]
    fn one_peer_leaves_room_for_others() {
        let peers = peers();
        let first = peers.connect(ONE).unwrap();
        let _second = peers.connect(ONE).unwrap();
        assert_eq!(peers.connect(ONE).unwrap_err(), Refusal::PeerConnections);
        let _third = peers.connect(TWO).unwrap();
        assert_eq!(peers.connect(TWO).unwrap_err(), Refusal::Connections);
        drop(first);
        peers.connect(ONE).unwrap();
    }

    #[test]
    fn a_peer_without_connections_is_forgotten() {
        let peers = peers();
        drop(peers.connect(ONE).unwrap());
        let _other = peers.connect(TWO).unwrap();
        assert_eq!(peers.by_address.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_turn() {
        let peers = peers();
        let (peer, other) = (peers.connect(ONE).unwrap(), peers.connect(TWO).unwrap());
        let turn = peer.request(Some(1)).await;
        assert!(timeout(Duration::from_secs(1), peer.request(Some(1))).await.is_err());
        timeout(Duration::from_secs(1), other.request(None)).await.expect("another peer has its own turn");
        drop(turn);
        timeout(Duration::from_secs(1), peer.request(Some(1))).await.expect("its turn has come");
    }

    #[tokio::test(start_paused = true)]
    async fn an_announced_length_beyond_the_limit_does_not_wait_for_ever() {
        let peers = peers();
        let peer = peers.connect(ONE).unwrap();
        timeout(Duration::from_secs(1), peer.request(Some(u64::MAX))).await.expect("it is cut off at the limit");
    }
}
