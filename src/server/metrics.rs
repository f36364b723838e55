//! What the listener measures.

use prometheus::{Gauge, IntCounterVec, IntGauge};

use super::pair::ServingPair;

crate::metrics! {
    /// What the listener measures.
    pub struct ServerMetrics {
        /// Time at which the certificate that is served expires, in seconds since 1970.
        expiry: Gauge = "weighbridge_serving_certificate_expiry_timestamp_seconds",
        /// Connections that are open.
        pub(super) connections: IntGauge = "weighbridge_server_connections",
        /// Connections and requests that were turned away, by reason.
        refused: IntCounterVec = "weighbridge_server_refused_total" ["reason"],
    }
}

/// Why a connection or a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no serving pair yet.
    NoPair,
    /// Too many connections.
    Connections,
    /// Too many connections of this peer.
    PeerConnections,
    /// The handshake failed or took too long.
    Handshake,
    /// The head of a request took too long.
    Head,
    /// A request took too long, or waited too long for its turn.
    Request,
    /// The code that answers panicked.
    Panic,
}

impl Refusal {
    const fn as_str(self) -> &'static str {
        match self {
            Refusal::NoPair => "no_pair",
            Refusal::Connections => "connections",
            Refusal::PeerConnections => "peer_connections",
            Refusal::Handshake => "handshake",
            Refusal::Head => "head",
            Refusal::Request => "request",
            Refusal::Panic => "panic",
        }
    }
}

impl ServerMetrics {
    /// Another connection or request was turned away.
    pub(super) fn refused(&self, reason: Refusal) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// This pair is served from now on.
    pub fn serves(&self, pair: &ServingPair) {
        // Seconds since 1970 fit a double exactly for 285 million years.
        self.expiry.set(pair.not_after().as_second() as f64);
    }
}

#[cfg(test)]
impl ServerMetrics {
    pub(super) fn refused_for_tests(&self) -> IntCounterVec {
        self.refused.clone()
    }
}
