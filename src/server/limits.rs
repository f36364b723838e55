//! What the listener bounds, and why at that number.

use std::time::Duration;

/// The bounds of a listener. The default is for production; tests shrink it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest body. Everything longer is cut off, with an error that the router sees.
    pub body_bytes: usize,
    /// Bytes of bodies that are held at a time, over all requests.
    pub bodies_in_flight_bytes: usize,
    /// The same for one peer.
    pub peer_bodies_in_flight_bytes: usize,
    /// Connections at a time. One more is closed before its handshake.
    pub connections: usize,
    /// The same for one peer.
    pub peer_connections: usize,
    /// Handshakes at a time. One more waits.
    pub handshakes: usize,
    /// The same for one peer.
    pub peer_handshakes: usize,
    /// Requests that are worked on at a time. One more waits.
    pub requests: usize,
    /// The same for one peer.
    pub peer_requests: usize,
    /// How long a handshake may take, waiting for its turn included.
    pub handshake_timeout: Duration,
    /// How long a request's head may take from its first byte on.
    pub head_timeout: Duration,
    /// How long a connection may lie idle between requests.
    pub idle_timeout: Duration,
    /// How long a request may take, its body and waiting for its turn included.
    pub request_timeout: Duration,
    /// How long idle connections are kept once the process drains.
    pub idle_drain: Duration,
}

/// Longest body: an API server takes objects of up to 3 MiB (`MaxRequestBodyBytes`), an AdmissionReview carries the new
/// and the old one, and 1 MiB is for who asks, options and JSON's own overhead.
const BODY_BYTES: usize = (3 + 3 + 1) * MIB;

/// Eight of the longest bodies. Parsed they take about four times as much: 224 MiB at worst. An ordinary Pod's review has
/// 20 KiB: this is room for 2,800 of them.
const BODIES_IN_FLIGHT_BYTES: usize = 8 * BODY_BYTES;

/// A quarter of the total: whoever announces long bodies and sends them slowly leaves room for others.
const PEER_BODIES_IN_FLIGHT_BYTES: usize = 2 * BODY_BYTES;

/// An API server uses one connection for each call in flight, and by default works on at most 200 writes at a time
/// (`--max-mutating-requests-inflight`); 256 leaves room for connections that it opens and then does not need.
const PEER_CONNECTIONS: usize = 256;

/// Three API servers with all they may open, and one peer that behaves badly.
const CONNECTIONS: usize = 4 * PEER_CONNECTIONS;

/// A handshake costs about 1 ms of a core. 16 at a time keep two cores busy; further ones wait for 16 ms more each round.
const PEER_HANDSHAKES: usize = 16;

/// Three API servers at once, and five peers that never finish theirs.
const HANDSHAKES: usize = 8 * PEER_HANDSHAKES;

/// An answer costs well below 1 ms, or 500 ms where the index has to see a new object first. With 64 at a time the
/// slowest case still gets through 128 calls a second for each peer. A replica that has read nothing yet keeps calls for
/// longer, and whoever goes by its readiness sends it none.
const PEER_REQUESTS: usize = 64;

/// Three API servers at once, and one peer that behaves badly.
const REQUESTS: usize = 4 * PEER_REQUESTS;

/// The Go client gives up a handshake after 10 s (`TLSHandshakeTimeout`).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A head of an API server has below 1 KiB and comes in one packet. 5 s is for one that was lost twice.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The Go client closes an idle connection after 90 s. Whoever closes first may cross with a call that is on its way, and
/// a POST is not sent again: so we wait for twice as long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// The longest time-out that a webhook can have (`timeoutSeconds` ≤ 30): nobody waits for an answer any more.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The Go client's 90 s for idle connections: after that, one that is still open is nobody's.
const IDLE_DRAIN: Duration = Duration::from_secs(90);

const MIB: usize = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: BODY_BYTES,
            bodies_in_flight_bytes: BODIES_IN_FLIGHT_BYTES,
            peer_bodies_in_flight_bytes: PEER_BODIES_IN_FLIGHT_BYTES,
            connections: CONNECTIONS,
            peer_connections: PEER_CONNECTIONS,
            handshakes: HANDSHAKES,
            peer_handshakes: PEER_HANDSHAKES,
            requests: REQUESTS,
            peer_requests: PEER_REQUESTS,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            idle_drain: IDLE_DRAIN,
        }
    }
}
