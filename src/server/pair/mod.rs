//! The serving pair: a certificate chain and its key, wherever they come from.

pub mod files;
pub mod secret;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::metrics::ServerMetrics;

/// Why a serving pair cannot be used. Never says anything of the key.
#[derive(Debug, Error)]
pub enum PairError {
    /// A part is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The certificates are not PEM.
    #[error("the certificates are not PEM")]
    Certificates(#[source] pem::Error),
    /// There is no certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// The first certificate is not one.
    #[error("the first certificate cannot be parsed")]
    Malformed,
    /// The key is not PEM.
    #[error("the key is not PEM of a private key")]
    Key,
    /// The key is of a kind that is not supported, or not the certificate's.
    #[error("the key cannot be used with the certificate")]
    Mismatch(#[source] rustls::Error),
}

/// A certificate chain and its key, checked to belong together.
#[derive(Clone)]
pub struct ServingPair {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

impl ServingPair {
    /// Parses a pair, as `tls.crt` and `tls.key` of a Secret hold it.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(PairError::Certificates)?;
        let not_after = not_after(chain.first().ok_or(PairError::NoCertificate)?)?;
        // The parser's own words could quote the key.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::Key)?;
        let key = any_supported_type(&key).map_err(PairError::Mismatch)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(PairError::Mismatch)?;
        Ok(ServingPair { key: Arc::new(key), not_after })
    }

    /// When the certificate expires.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

#[cfg(test)]
impl ServingPair {
    pub(in crate::server) fn certificate_for_tests(&self) -> CertificateDer<'static> {
        self.key.cert[0].clone()
    }
}

impl fmt::Debug for ServingPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingPair").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<Timestamp, PairError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| PairError::Malformed)?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|_| PairError::Malformed)
}

/// Where the pair that is served lies; empty until the first has come. Clones are the same place.
#[derive(Clone, Debug)]
pub struct PairSlot {
    pair: Arc<ArcSwapOption<ServingPair>>,
    metrics: ServerMetrics,
}

impl PairSlot {
    /// An empty place.
    pub fn new(metrics: ServerMetrics) -> Self {
        PairSlot { pair: Arc::default(), metrics }
    }

    /// The pair that is served.
    pub fn get(&self) -> Option<Arc<ServingPair>> {
        self.pair.load_full()
    }

    /// Serves another pair, from the next handshake on. Connections that are open go on with theirs.
    pub fn put(&self, pair: ServingPair) {
        tracing::info!(expires = %pair.not_after, "another serving certificate is served");
        self.metrics.serves(&pair);
        self.pair.store(Some(Arc::new(pair)));
    }

    /// Whether a pair is there that has not expired, or what is waited for.
    pub fn ready(&self, now: Timestamp) -> Result<(), String> {
        match self.get() {
            None => Err("no serving pair has come yet".to_owned()),
            Some(pair) if pair.not_after < now => Err(format!("the serving certificate expired at {}", pair.not_after)),
            Some(_) => Ok(()),
        }
    }
}

impl ResolvesServerCert for PairSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.load().as_ref().map(|pair| Arc::clone(&pair.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_belongs_together() {
        let ((chain, key), (_, other)) = (pair(), pair());
        ServingPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let error = ServingPair::from_pem(chain.as_bytes(), other.as_bytes()).unwrap_err();
        assert!(matches!(error, PairError::Mismatch(_)), "{error:?}");
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let (chain, key) = pair();
        for (chain, key) in [("", key.as_str()), ("x", &key), (&chain, ""), (&chain, "x"), (&chain, &chain)] {
            ServingPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn ready_is_a_pair_that_has_not_expired() {
        let slot = PairSlot::new(ServerMetrics::register(&Registry::new()));
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(slot.ready(now).is_err());
        let (chain, key) = pair();
        let pair = ServingPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let expiry = pair.not_after();
        slot.put(pair);
        slot.ready(now).unwrap();
        assert!(slot.ready(expiry + jiff::SignedDuration::from_secs(1)).is_err());
    }
}
