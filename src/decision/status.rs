//! What one use looks like over all policies, and in the status of its workload.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::judge::Judgement;
use super::signers::words;
use super::text::statement;
use super::{JudgedUse, ModelFacts, severity};
use crate::api::v1alpha1::{Code, WorkloadModel};
use crate::model::shown;
use crate::workload::ModelUse;

/// Adds what one policy says of a use to what others said.
pub(super) fn merge(model: &mut Option<JudgedUse>, model_use: &ModelUse, judgement: Judgement) {
    let Judgement { verdict, facts, signer, writer, mut findings, dangers, missing_records: _ } = judgement;
    findings.extend(dangers.into_iter().map(|(_, found)| found));
    let Some(before) = model else {
        let mut judged = JudgedUse { model_use: model_use.clone(), verdict, signer, writer, facts, findings };
        judged.findings.sort_by_key(|(code, _)| rank(*code));
        *model = Some(judged);
        return;
    };
    let worse = severity(verdict.kind()) > severity(before.verdict.kind());
    if worse {
        before.verdict = verdict;
    }
    before.signer = before.signer.take().or(signer);
    before.writer &= writer;
    before.facts = before.facts.take().or(facts);
    for finding in findings {
        if !before.findings.contains(&finding) {
            before.findings.push(finding);
        }
    }
    before.findings.sort_by_key(|(code, _)| rank(*code));
}

/// What is refused is worse than what is wrong with the use, and that is worse than what is unknown.
fn rank(code: Code) -> u8 {
    match code {
        Code::Refused(_) => 0,
        Code::Use(_) => 1,
        Code::Unknown(_) | Code::Request(_) => 2,
    }
}

impl JudgedUse {
    /// The source in words, such as `claim/models/llama`.
    pub fn source(&self) -> String {
        self.model_use.source.to_string()
    }

    /// The use as the status of a workload shows it: once for each model in it of which anything is known.
    pub fn statuses(&self) -> Vec<WorkloadModel> {
        let worst = self.findings.first();
        let of = |source: String, model: Option<&ModelFacts>| {
            let claimed = || model.iter().flat_map(|model| &model.signers).map(words).next();
            WorkloadModel {
                container: self.model_use.container.name.clone(),
                volume: self.model_use.mount().map(|mount| mount.volume.clone()),
                source,
                verdict: self.verdict.kind(),
                reason: worst.map(|(code, _)| code.to_string()),
                message: worst.map(|(_, finding)| statement(finding)),
                model_digest: model.map(|model| model.model_digest.clone()).filter(|it| !it.is_empty()),
                signer: self.signer.clone().or_else(claimed),
                verified_at: self.facts.as_ref().and_then(|facts| facts.verified_at).map(Time),
            }
        };
        match self.facts.as_ref().map_or(&[][..], |facts| &facts.models) {
            [] => vec![of(self.source(), None)],
            [model] => vec![of(self.source(), Some(model))],
            several => several.iter().map(|model| of(self.source_at(&model.path), Some(model))).collect(),
        }
    }

    fn source_at(&self, path: &str) -> String {
        match self.model_use.claim() {
            Some(name) => format!("claim/{}/{}", shown(name), shown(path)),
            None => self.source(),
        }
    }
}
