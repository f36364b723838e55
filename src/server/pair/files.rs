//! A serving pair from two mounted files, as cert-manager's CSI driver or a mounted Secret keep them.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use super::{PairSlot, ServingPair};

/// How often the files are read. The kubelet brings a changed Secret within about a minute, and a certificate is renewed
/// days before it expires: ten seconds are soon enough, and two small reads cost nothing.
const POLL: Duration = Duration::from_secs(10);

/// Where the pair lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate chain.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Puts the pair into the slot, and again whenever the files change. What cannot be used is logged, and the pair before
/// it is kept.
pub async fn follow_files(files: PairFiles, slot: PairSlot) -> Infallible {
    let mut seen = None;
    loop {
        // The two are read one after the other: a pair that was replaced in between does not match, and the next round
        // reads it whole.
        let read = (tokio::fs::read(&files.chain).await, tokio::fs::read(&files.key).await);
        match read {
            (Ok(chain), Ok(key)) => {
                let found = Some((chain, key));
                if found != seen {
                    let (chain, key) = found.as_ref().map(|(chain, key)| (&chain[..], &key[..])).unwrap_or_default();
                    match ServingPair::from_pem(chain, key) {
                        Ok(pair) => slot.put(pair),
                        Err(error) => tracing::error!(%error, ?files, "the serving pair cannot be used"),
                    }
                    seen = found;
                }
            }
            (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, ?files, "the serving pair cannot be read"),
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ServerMetrics;
    use crate::telemetry::Registry;

    #[tokio::test(start_paused = true)]
    async fn a_replaced_pair_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let files = PairFiles { chain: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
        let slot = PairSlot::new(ServerMetrics::register(&Registry::new()));
        let write = |files: &PairFiles| {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
            std::fs::write(&files.chain, made.cert.pem()).unwrap();
            std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
            made.cert.der().to_vec()
        };
        let served = || slot.get().map(|pair| pair.key.cert[0].to_vec());
        let look = async {
            tokio::time::sleep(POLL / 2).await;
            assert_eq!(served(), None, "no files yet");
            for _ in 0..2 {
                let written = write(&files);
                tokio::time::sleep(POLL).await;
                assert_eq!(served(), Some(written));
            }
            let last = served();
            std::fs::write(&files.key, "broken").unwrap();
            tokio::time::sleep(POLL * 2).await;
            assert_eq!(served(), last, "what cannot be used does not replace what can");
        };
        tokio::select! {
            never = follow_files(files.clone(), slot.clone()) => match never {},
            () = look => {}
        }
    }
}
