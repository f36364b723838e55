//! What is measured about records.

use prometheus::{Gauge, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::situation::Situation;
use super::status::{Standing, models_now, standing};
use crate::api::v1alpha1::{FindingCode, UnknownCode, VerdictKind};
use crate::facts::Report;
use jiff::Timestamp;

/// The one kind of source so far.
const CLAIM: &str = "claim";

crate::metrics! {
    /// Metrics of the records.
    pub struct Metrics {
        /// Reads of sources that have ended, by the kind of source, verdict and code.
        verifications: IntCounterVec = "weighbridge_verifications_total" ["source", "verdict", "code"],
        /// How long reads took that brought facts, in seconds, by the kind of source.
        duration: HistogramVec = "weighbridge_verification_duration_seconds" ["source"]
            buckets [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0],
        /// Bytes of models that were read.
        bytes: IntCounter = "weighbridge_verified_bytes_total",
        /// Records, by verdict and code, whoever is allowed to sign. Unsigned files that every policy ignores do not count.
        models: IntGaugeVec = "weighbridge_models" ["verdict", "code"],
        /// Age of the oldest facts that a record rests on, in seconds.
        oldest: Gauge = "weighbridge_record_oldest_age_seconds",
        /// Time at which the first of the certificates ends that records count only while they are valid, in seconds since
        /// 1970; 0 if there is none.
        signer_expiry: Gauge = "weighbridge_signer_certificate_expiry_timestamp_seconds",
    }
}

impl Metrics {
    /// A report was taken.
    pub fn reported(&self, report: &Report) {
        let code = report.outcome.code().map_or("", |code| code.as_str());
        let verdict = match &report.outcome {
            crate::facts::Outcome::Verified {} | crate::facts::Outcome::Divided { .. } => VerdictKind::Verified,
            crate::facts::Outcome::Refused { .. } => VerdictKind::Refused,
            crate::facts::Outcome::Unknown { .. } => VerdictKind::Unknown,
        };
        self.verifications.with_label_values(&[CLAIM, verdict.as_str(), code]).inc();
        self.duration.with_label_values(&[CLAIM]).observe(report.duration_ms as f64 / 1000.0);
        self.bytes.inc_by(report.bytes.unwrap_or_default());
    }

    /// A run brought nothing.
    pub fn failed(&self, code: UnknownCode) {
        self.verifications.with_label_values(&[CLAIM, VerdictKind::Unknown.as_str(), code.as_str()]).inc();
    }

    /// What is known of all records.
    pub fn observe(&self, situations: &[Situation], now: Timestamp) {
        self.models.reset();
        let mut oldest = 0.0_f64;
        for situation in situations {
            let (verdict, code) = match standing(situation, now) {
                // The models of a folder have records of their own.
                Standing::Divided(_) | Standing::Misnamed(_) => continue,
                Standing::Unknown(code, _) => (VerdictKind::Unknown, code.as_str()),
                Standing::Facts => {
                    let models = models_now(situation, now);
                    let worst = models.iter().find(|model| model.verdict != VerdictKind::Verified);
                    let code = worst.and_then(|model| model.reason).map_or("", |reason| match reason {
                        FindingCode::Refused(code) => code.as_str(),
                        FindingCode::Unknown(code) => code.as_str(),
                    });
                    (worst.map_or(VerdictKind::Verified, |model| model.verdict), code)
                }
            };
            self.models.with_label_values(&[verdict.as_str(), code]).inc();
            let age = situation.status.verified_at.as_ref().map(|at| now.duration_since(at.0).as_secs_f64());
            oldest = age.map_or(oldest, |age| oldest.max(age));
        }
        self.oldest.set(oldest);
        let models = situations.iter().flat_map(|situation| &situation.status.models);
        let first = models.filter_map(|model| model.signer_expires_at.as_ref()).map(|end| end.0.as_second()).min();
        self.signer_expiry.set(first.unwrap_or_default() as f64);
    }
}
