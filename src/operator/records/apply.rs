//! Does what was planned, record by record.
//!
//! Receives a situation and a step; promises that a record's status is written before anything that rests on it is done
//! (so that whoever takes over knows of each Pod), and that every write is conditional on the record that the step was
//! planned from: one that is out of date changes nothing.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tracing::{debug, info, warn};

use super::collect::{Essence, not_admitted};
use super::due::Why;
use super::gather::Memory;
use super::keep::{CREATED_BY, Create, OPERATOR};
use super::metrics::Metrics;
use super::plan::Step;
use super::run::take;
use super::situation::Situation;
use super::status::{self, Told};
use super::verifier_pod::{Order, VerifierSettings, build, name};
use crate::api::v1alpha1::{ModelVerification, ModelVerificationStatus, Run, UnknownCode};
use crate::facts::whole;
use crate::operator::call::{CallFailed, FIELD_MANAGER, outdated};
use crate::operator::nonce;

/// How long a verifier that no longer counts may take to end, in seconds: it has nothing to save.
const GRACE_SECONDS: u32 = 1;

/// What is needed to act.
pub(super) struct Hands<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a VerifierSettings,
    pub(super) metrics: &'a Metrics,
    pub(super) memory: &'a mut Memory,
    pub(super) now: Timestamp,
}

impl Hands<'_> {
    /// Does one step about one record.
    pub(super) async fn apply(
        &mut self,
        record: &ModelVerification,
        situation: &Situation,
        unused_since: Option<Timestamp>,
        step: Step,
    ) -> Result<(), CallFailed> {
        let mut next = situation.clone();
        next.status.unused_since = unused_since.map(whole);
        match step {
            Step::Settle => self.write(record, &next).await.map(drop),
            Step::Note(words) => {
                if let Some(run) = &mut next.status.run {
                    run.message = words;
                }
                self.write(record, &next).await.map(drop)
            }
            Step::Begin { why, signature_only } => self.begin(record, next, why, signature_only).await,
            Step::Take => self.take(record, next).await,
            Step::Abort(why) => {
                info!(namespace = next.namespace, record = next.name, why, "a run is ended");
                status::aborted(&mut next.status);
                self.end(record, situation, &next).await.map(drop)
            }
            Step::Fail(code, message) => self.fail(record, situation, next, code, &message).await,
        }
    }

    async fn begin(
        &mut self,
        record: &ModelVerification,
        mut next: Situation,
        why: Why,
        signature_only: bool,
    ) -> Result<(), CallFailed> {
        let Some(nonce) = nonce::fresh() else {
            warn!("the system gives no random numbers: no run begins");
            return Ok(());
        };
        let (ids, tried_ids, _) = next.next_ids();
        let run = Run {
            pod: Some(name(&next.name, &nonce)),
            nonce: Some(nonce.clone()),
            started_at: Some(whole(self.now)),
            source: next.source(),
            trust_digest: Some(next.trust.digest.clone()),
            signature_only,
            tried_ids,
            failures: next.remembered.map_or(0, |(failures, _)| failures),
            ..Run::default()
        };
        let asked = next.asked.clone();
        status::begin(&mut next.status, run, asked);
        let Some(record) = self.write(record, &next).await? else { return Ok(()) };
        // No index keeps the bundle of a record; the API server's answer holds all of it.
        let bundle = record.spec.bundle.clone();
        info!(namespace = next.namespace, record = next.name, ?why, signature_only, "a run begins");
        let (claim, path) = next.claim_path();
        let sent = build(
            &Order {
                namespace: &next.namespace,
                record: &next.name,
                record_uid: &next.uid,
                claim,
                path,
                signature: &next.spec.signature,
                bundle: bundle.as_deref(),
                fetch: &next.fetch,
                signature_only,
                nonce: &nonce,
                trust: &next.trust.pieces,
                ids: &ids,
                placement: &next.placement,
            },
            self.settings,
        );
        self.make(&record, next.clone(), &sent).await
    }

    /// Makes the Pod, and notes that it is what was sent.
    async fn make(&mut self, record: &ModelVerification, mut next: Situation, sent: &Pod) -> Result<(), CallFailed> {
        let situation = next.clone();
        let created = match self.pods(&next.namespace).create(&PostParams::default(), sent).await {
            Ok(created) => created,
            Err(kube::Error::Api(answer)) => {
                let (code, message) = not_admitted(&answer);
                return self.fail(record, &situation, next, code, &message).await;
            }
            Err(error) => return Err(CallFailed::when("make a verifier Pod")(error)),
        };
        let claim = next.claim_path().0;
        let same = Essence::of(sent, claim).and_then(|sent| {
            let created = Essence::of(&created, claim)?;
            sent.same_as(&created).map(|()| created.digest())
        });
        match same {
            Ok(digest) => {
                status::made(&mut next.status, created.uid(), digest);
                self.write(record, &next).await.map(drop)
            }
            Err(difference) => {
                status::made(&mut next.status, created.uid(), String::new());
                let made = next.clone();
                self.fail(record, &made, next, UnknownCode::VerifierBlocked, &difference.to_string()).await
            }
        }
    }

    /// Takes the result: Pod and claim are read once more, past every cache.
    async fn take(&mut self, record: &ModelVerification, mut next: Situation) -> Result<(), CallFailed> {
        let situation = next.clone();
        let run = situation.status.run.clone().unwrap_or_default();
        let pod = self.pods(&next.namespace).get_opt(run.pod.as_deref().unwrap_or_default()).await;
        let Some(pod) = pod.map_err(CallFailed::when("read a verifier Pod"))? else {
            let message = "the verifier Pod was deleted";
            return self.fail(record, &situation, next, UnknownCode::VerifierFailed, message).await;
        };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &next.namespace);
        let claim = claims.get_opt(next.claim_path().0).await.map_err(CallFailed::when("read a claim"))?;
        if !claim.is_some_and(|claim| is_as_known(&claim, &situation)) {
            // The next snapshot says so too, and ends the run.
            debug!(namespace = next.namespace, record = next.name, "the claim is ahead of the snapshot");
            return Ok(());
        }
        let report = match take(&situation, &run, &pod) {
            Ok(report) => report,
            Err(discarded) => {
                return self.fail(record, &situation, next, discarded.code, &discarded.message).await;
            }
        };
        let told = status::reported(&situation, &mut next.status, &report, self.now);
        if self.write(record, &next).await?.is_none() {
            return Ok(());
        }
        self.metrics.reported(&report);
        self.remember(&next, matches!(told, Told::Nothing(_)));
        info!(namespace = next.namespace, record = next.name, ?told, "a run has ended");
        self.delete(&situation.namespace, pod.name_any().as_str(), pod.uid()).await
    }

    async fn fail(
        &mut self,
        record: &ModelVerification,
        situation: &Situation,
        mut next: Situation,
        code: UnknownCode,
        message: &str,
    ) -> Result<(), CallFailed> {
        warn!(namespace = next.namespace, record = next.name, %code, message, "a run brought nothing");
        status::failed(&mut next.status, code, message, self.now);
        self.remember(&next, true);
        if self.end(record, situation, &next).await? {
            self.metrics.failed(code);
        }
        Ok(())
    }

    /// Writes the status, then takes away the Pod of the run that was on; false where the status is out of date.
    async fn end(
        &mut self,
        record: &ModelVerification,
        situation: &Situation,
        next: &Situation,
    ) -> Result<bool, CallFailed> {
        if self.write(record, next).await?.is_none() {
            return Ok(false);
        }
        let Some(run) = situation.active_run() else { return Ok(true) };
        let Some(pod) = &run.pod else { return Ok(true) };
        let uid = match &run.pod_uid {
            Some(uid) => Some(uid.clone()),
            // The Pod may have been made without being noted.
            None => {
                let pod = self.pods(&next.namespace).get_opt(pod).await;
                let pod = pod.map_err(CallFailed::when("read a verifier Pod"))?;
                pod.filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == next.uid))
                    .and_then(|pod| pod.uid())
            }
        };
        if uid.is_some() {
            self.delete(&next.namespace, pod, uid).await?;
        }
        Ok(true)
    }

    /// Notes how a run ended: a record that is deleted and made anew must not be read at once for ever.
    fn remember(&mut self, next: &Situation, failed: bool) {
        let key = (next.namespace.clone(), next.name.clone());
        let run = next.status.run.as_ref().filter(|_| failed);
        match run.and_then(|run| Some((run.failures, run.retry_at.as_ref()?.0))) {
            Some(failure) => drop(self.memory.insert(key, failure)),
            None => drop(self.memory.remove(&key)),
        }
    }

    /// Writes the status with conditions that say how the record stands; nothing if it would change nothing. Gives the
    /// record as it is then, or nothing where it is no longer the one that this was planned from.
    async fn write(
        &self,
        record: &ModelVerification,
        next: &Situation,
    ) -> Result<Option<ModelVerification>, CallFailed> {
        let status = status::settled(next, self.now);
        if record.status.as_ref() == Some(&status) {
            return Ok(Some(record.clone()));
        }
        let api: Api<ModelVerification> = Api::namespaced(self.client.clone(), &next.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&next.name, &params, &Patch::Apply(patch(record, &status))).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if outdated(&error) => Ok(None),
            Err(error) => Err(CallFailed::when("write the status of a record")(error)),
        }
    }

    async fn delete(&self, namespace: &str, pod: &str, uid: Option<String>) -> Result<(), CallFailed> {
        delete_pod(self.client, namespace, pod, uid).await
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// Whether a claim, as it was just read, is the one of the snapshot.
fn is_as_known(claim: &PersistentVolumeClaim, situation: &Situation) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    claim.uid().as_ref() == situation.claim.as_ref().map(|claim| &claim.uid)
        && claim.metadata.deletion_timestamp.is_none()
        && volume == situation.volume.as_ref().map(|(name, _)| name.as_str())
}

fn patch(record: &ModelVerification, status: &ModelVerificationStatus) -> serde_json::Value {
    json!({
        "apiVersion": "weighbridge.dev/v1alpha1",
        "kind": "ModelVerification",
        "metadata": { "name": record.name_any(), "uid": record.uid(), "resourceVersion": record.resource_version() },
        "status": status,
    })
}

/// Deletes the very Pod of this uid. One that is gone is as good.
pub(super) async fn delete_pod(
    client: &Client,
    namespace: &str,
    pod: &str,
    uid: Option<String>,
) -> Result<(), CallFailed> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, grace_period_seconds: Some(GRACE_SECONDS), ..DeleteParams::default() };
    match api.delete(pod, &params).await {
        Ok(_) => Ok(()),
        Err(error) if outdated(&error) => Ok(()),
        Err(error) => Err(CallFailed::when("delete a verifier Pod")(error)),
    }
}

/// Makes a record.
pub(super) async fn create(client: &Client, create: &Create) -> Result<(), CallFailed> {
    let Create { namespace, spec, claim, claim_uid } = create;
    let mut record = ModelVerification::new(&spec.record_name(), spec.clone());
    // `new` puts the definition's own annotations on every object; they are for Helm, about the definition.
    record.metadata.annotations = Some([(CREATED_BY.to_owned(), OPERATOR.to_owned())].into());
    record.metadata.owner_references = Some(vec![owner(claim, claim_uid)]);
    let api: Api<ModelVerification> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), &record).await {
        Ok(_) => Ok(()),
        Err(error) if outdated(&error) => Ok(()),
        Err(error) => Err(CallFailed::when("make a record")(error)),
    }
}

/// Lets a record that a person made go with its claim, as the others do.
pub(super) async fn adopt(
    client: &Client,
    record: &ModelVerification,
    situation: &Situation,
) -> Result<(), CallFailed> {
    let Some(claim) = situation.claim.as_ref().filter(|claim| !claim.deleting) else { return Ok(()) };
    if !record.owner_references().is_empty() {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": "weighbridge.dev/v1alpha1",
        "kind": "ModelVerification",
        "metadata": {
            "name": situation.name,
            "uid": situation.uid,
            "ownerReferences": [owner(situation.claim_path().0, &claim.uid)],
        },
    });
    let api: Api<ModelVerification> = Api::namespaced(client.clone(), &situation.namespace);
    match api.patch(&situation.name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if outdated(&error) => Ok(()),
        Err(error) => Err(CallFailed::when("let a record go with its claim")(error)),
    }
}

/// Removes a record that nobody needs.
pub(super) async fn remove(client: &Client, record: &ModelVerification) -> Result<(), CallFailed> {
    let api: Api<ModelVerification> = Api::namespaced(client.clone(), &record.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: record.uid(), resource_version: record.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&record.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(error) if outdated(&error) => Ok(()),
        Err(error) => Err(CallFailed::when("remove a record")(error)),
    }
}

fn owner(claim: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "PersistentVolumeClaim".to_owned(),
        name: claim.to_owned(),
        uid: uid.to_owned(),
        controller: None,
        block_owner_deletion: None,
    }
}
