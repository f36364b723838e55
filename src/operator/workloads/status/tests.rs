use super::*;
use crate::api::v1alpha1::{Code, RefusedCode, UnknownCode, UseCode};
use crate::decision::{Action, Facts, Finding, Verdict};
use crate::workload::{Access, Claims, ContainerKind, ContainerRef, FieldPath, Ids, ModelUse, Mount, Source, Way};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn finding(what: &str) -> Finding {
    Finding { what: what.into(), fix: "fix it".into(), detail: None }
}

fn judged(volume: &str, verdict: Verdict) -> JudgedUse {
    let model_use = ModelUse {
        container: ContainerRef { kind: ContainerKind::Main, name: "server".into() },
        ids: Ids::default(),
        at: FieldPath(format!("spec.{volume}")),
        way: Way::Mounted(Mount { volume: volume.into(), path: "/m".into(), paths: vec![] }),
        source: Source::Claim { name: "models".into(), path: String::new() },
        access: Access::ReadOnly,
        privileged_by: None,
        shadows: vec![],
        annotations: Claims::default(),
        hazards: vec![],
    };
    let findings = match &verdict {
        Verdict::Verified(_) => vec![],
        Verdict::Refused(code, finding) => vec![(Code::from(*code), finding.clone())],
        Verdict::Unknown(code, finding) => vec![(Code::from(*code), finding.clone())],
    };
    JudgedUse { model_use, verdict, signer: None, writer: false, facts: None, findings }
}

fn verified() -> JudgedUse {
    judged("good", Verdict::Verified(Facts::default()))
}

fn unread() -> JudgedUse {
    judged("unread", Verdict::Unknown(UnknownCode::NotVerifiedYet, finding("never read")))
}

fn refused() -> JudgedUse {
    judged("bad", Verdict::Refused(RefusedCode::ContentMismatch, finding("differs")))
}

fn decision(models: Vec<JudgedUse>) -> Decision {
    let violation = |judged: &JudgedUse| {
        judged
            .findings
            .iter()
            .map(|(code, finding)| Violation {
                policy: crate::policy::PolicyName::Cluster("production".into()),
                at: judged.model_use.at.clone(),
                code: *code,
                finding: finding.clone(),
                action: Action::Deny,
                audit: false,
            })
            .collect::<Vec<_>>()
    };
    Decision { violations: models.iter().flat_map(violation).collect(), models, ..Decision::default() }
}

fn of(models: Vec<JudgedUse>) -> WorkloadVerificationStatus {
    status(&WorkloadVerificationStatus::default(), &decision(models), Some(1), 0, at(1))
}

fn condition(status: &WorkloadVerificationStatus, kind: &str) -> (String, String) {
    let one = status.conditions.iter().find(|one| one.type_ == kind).unwrap();
    (one.status.clone(), one.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.into(), reason.into())
}

#[test]
fn the_worst_comes_first_and_speaks_for_all() {
    let status = of(vec![verified(), unread(), refused()]);
    assert_eq!(status.verdict, Some(VerdictKind::Refused));
    let order: Vec<&str> = status.models.iter().map(|model| model.volume.as_deref().unwrap()).collect();
    assert_eq!(order, ["bad", "unread", "good"]);
    assert_eq!(condition(&status, "Verified"), is("False", "ContentMismatch"));
    assert_eq!(condition(&of(vec![verified(), unread()]), "Verified"), is("Unknown", "NotVerifiedYet"));
    let good = of(vec![verified()]);
    assert_eq!(condition(&good, "Verified"), is("True", "Verified"));
    assert_eq!(condition(&good, "Compliant"), is("True", "Compliant"));
}

#[test]
fn a_verified_model_that_is_used_wrongly_does_not_comply() {
    let mut judged = verified();
    judged.findings.push((UseCode::Writable.into(), finding("may be written")));
    let status = of(vec![judged]);
    assert_eq!(condition(&status, "Verified"), is("True", "Verified"));
    assert_eq!(condition(&status, "Compliant"), is("False", "Writable"));
    let news = news(None, &status).unwrap();
    assert_eq!((news.warning, news.reason.as_str()), (true, "Writable"));
    assert_eq!(news.note, "production: spec.good: may be written — fix it");
}

#[test]
fn a_writer_is_not_asked_what_it_writes() {
    let mut writer = unread();
    (writer.writer, writer.findings) = (true, vec![]);
    let status = of(vec![writer]);
    assert_eq!((status.verdict, condition(&status, "Verified")), (None, is("Unknown", "Writer")));
    assert_eq!(condition(&status, "Compliant"), is("True", "Compliant"));
    assert_eq!(news(None, &status), None);
}

#[test]
fn only_a_change_is_news() {
    let (good, waits, bad) = (of(vec![verified()]), of(vec![unread()]), of(vec![refused()]));
    let said = |before: Option<&WorkloadVerificationStatus>, after: &WorkloadVerificationStatus| {
        news(before, after).map(|news| (news.warning, news.reason))
    };
    assert_eq!(said(None, &good), None, "nothing was ever wrong");
    assert_eq!(said(None, &waits), Some((true, "NotVerifiedYet".into())));
    assert_eq!(said(Some(&waits), &waits), None);
    let is_read = of(vec![judged("m", Verdict::Unknown(UnknownCode::Verifying, finding("is read")))]);
    assert_eq!(said(Some(&waits), &is_read), None);
    assert_eq!(said(Some(&good), &is_read), Some((true, "Verifying".into())));
    assert_eq!(said(Some(&waits), &good), Some((false, "Verified".into())));
    assert_eq!(said(Some(&good), &bad), Some((true, "ContentMismatch".into())));
    assert_eq!(said(Some(&WorkloadVerificationStatus::default()), &good), None, "an object without status is no past");
}

#[test]
fn an_unchanged_decision_is_an_unchanged_status() {
    let first = of(vec![unread()]);
    assert_eq!(status(&first, &decision(vec![unread()]), Some(1), 0, at(99)), first);
}
