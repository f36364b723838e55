//! What of a review is judged: only what could change which models run.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::answer::Rejection;
use super::review::{Object, Operation, Request};
use crate::api::v1alpha1::RequestCode;
use crate::policy::EXEMPT_NAMESPACES;
use crate::workload::{ContainerKind, CustomKinds, Extract, FieldPath, HasModels as _, Kind, MIRROR_ANNOTATION};

/// The account under which all controllers act where they have none of their own.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// Where the ephemeral containers of a Pod are.
const EPHEMERAL: &str = "/spec/ephemeralContainers";

/// What becomes of a review.
#[derive(Debug)]
pub(super) enum Triage {
    /// Nothing in it could change which models run.
    Pass(Pass),
    /// These uses are judged.
    Judge(Box<Extract>),
}

impl Triage {
    /// What the API server says of its name and namespace counts, whatever stands in the object.
    fn judge(mut extract: Extract, request: &Request) -> Self {
        extract.subject.namespace = request.namespace().to_owned();
        extract.subject.name = request.name().to_owned();
        Triage::Judge(Box::new(extract))
    }
}

/// Why nothing is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The namespace is exempt.
    Exempt,
    /// A deletion, or an object that is being deleted.
    Deleting,
    /// The status, the scale or the resources of an object.
    SubResource,
    /// Nothing has changed that matters.
    Unchanged,
    /// A controller made it from a template that was judged, and its Pods will be.
    Owned,
    /// A node shows what it runs anyway.
    Mirror,
}

/// The kind that a controller makes these from, and the account under which it does.
const fn made_by(kind: Kind) -> Option<(&'static str, &'static str, &'static str)> {
    match kind {
        Kind::ReplicaSet => Some(("apps/v1", "Deployment", "system:serviceaccount:kube-system:deployment-controller")),
        Kind::Job => Some(("batch/v1", "CronJob", "system:serviceaccount:kube-system:cronjob-controller")),
        _ => None,
    }
}

/// Whether objects of this kind are judged.
pub(super) fn is_judged(request: &Request, kinds: &CustomKinds) -> bool {
    request.known_kind().is_some() || kinds.contains(&request.kind.group, &request.kind.kind)
}

/// Why nothing is judged, whatever the object is and whichever kinds there are.
pub(super) fn passes_unseen(request: &Request, own_namespace: &str) -> Option<Pass> {
    let namespace = request.namespace();
    if request.operation() == Operation::Delete {
        Some(Pass::Deleting)
    } else if EXEMPT_NAMESPACES.contains(&namespace) || namespace == own_namespace {
        Some(Pass::Exempt)
    } else {
        matches!(request.sub_resource(), "status" | "scale" | "resize").then_some(Pass::SubResource)
    }
}

/// Looks at what a review is about that does not pass unseen. `kinds` are the custom resources that are judged.
pub(super) fn triage(request: &Request, kinds: &CustomKinds) -> Result<Triage, Rejection> {
    let operation = request.operation();
    let unsupported = || {
        let what = format!("{} {}/{}", request.operation().as_str(), request.kind.kind, request.sub_resource());
        let text =
            format!("{} is not judged here; the webhook configuration must not send it", what.trim_end_matches('/'));
        Rejection::new(RequestCode::UnsupportedKind, text)
    };
    let object = match &request.object {
        Object::NewPod(pod) if is_mirror(pod, request) => return Ok(Triage::Pass(Pass::Mirror)),
        Object::NewPod(pod) => return Ok(Triage::judge(pod.extract(), request)),
        Object::Json(object) => object,
    };
    let (old, new) = (&request.old_object, object);
    if operation == Operation::Update && is_being_deleted(old) {
        return Ok(Triage::Pass(Pass::Deleting));
    }
    let Some(kind) = request.known_kind() else { return custom(request, new, kinds).ok_or_else(unsupported) };
    let pass = match (kind, request.sub_resource(), operation) {
        (Kind::Pod, "ephemeralcontainers", Operation::Update) => None,
        (Kind::Pod, "", Operation::Create) => None,
        (Kind::Pod, "", Operation::Update) => same_pod(old, new).then_some(Pass::Unchanged),
        (Kind::Pod, ..) => return Err(unsupported()),
        (_, "", Operation::Create | Operation::Update) => {
            if same_template(kind, old, new) {
                Some(Pass::Unchanged)
            } else {
                is_made_by_controller(kind, new, request.user()).then_some(Pass::Owned)
            }
        }
        _ => return Err(unsupported()),
    };
    match pass {
        Some(pass) => Ok(Triage::Pass(pass)),
        None => extract(kind, request, new).map(|extract| Triage::judge(extract, request)),
    }
}

/// A custom resource: judged when anything but its metadata and status has changed.
fn custom(request: &Request, new: &Value, kinds: &CustomKinds) -> Option<Triage> {
    let old = &request.old_object;
    let same = request.operation() == Operation::Update
        && same_content(old, new)
        && our_annotations(old) == our_annotations(new);
    let judged =
        request.sub_resource().is_empty() && matches!(request.operation(), Operation::Create | Operation::Update);
    let extract =
        kinds.extract(&request.kind.group, &request.kind.version, &request.kind.kind, new).filter(|_| judged)?;
    Some(if same { Triage::Pass(Pass::Unchanged) } else { Triage::judge(extract, request) })
}

fn same_content(old: &Value, new: &Value) -> bool {
    fn content(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
        object.as_object().into_iter().flatten().filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status"))
    }
    content(old).eq(content(new))
}

fn extract(kind: Kind, request: &Request, new: &Value) -> Result<Extract, Rejection> {
    let mut extract = kind.extract(new).map_err(|error| {
        tracing::warn!(%error, uid = request.uid, kind = kind.as_str(), "an object cannot be parsed");
        let text = format!("the {} cannot be parsed; the log of the webhook says more", kind.as_str());
        Rejection::new(RequestCode::MalformedRequest, text)
    })?;
    if request.sub_resource() == "ephemeralcontainers" {
        // Whatever runs already was judged when it was added; but a new container may be one that lets the Pod write what
        // the others mount read-only.
        let before = names(&request.old_object, EPHEMERAL);
        let is_new = |name: &str| !before.contains(name);
        let mighty: Vec<String> = (list(new, EPHEMERAL).enumerate())
            .filter(|(_, container)| container["name"].as_str().is_none_or(is_new))
            .map(|(index, _)| format!("spec.ephemeralContainers[{index}]."))
            .collect();
        let by_new = |field: &FieldPath| mighty.iter().any(|container| field.0.starts_with(container));
        extract.retain(|it| {
            it.container.kind == ContainerKind::Ephemeral && is_new(&it.container.name)
                || it.privileged_by.as_ref().is_some_and(by_new)
        });
    }
    Ok(extract)
}

fn is_being_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// Whether a node shows with this what it runs from a file of its own, whatever the answer is. The annotation alone proves
/// nothing, for anybody can write it; and a node speaks for itself alone.
fn is_mirror(pod: &Pod, request: &Request) -> bool {
    let mirrors = pod.metadata.annotations.as_ref().is_some_and(|them| them.contains_key(MIRROR_ANNOTATION));
    let runs_on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    mirrors && runs_on.is_some() && runs_on == request.node()
}

/// Whether neither an image nor one of our annotations has changed: nothing else of a Pod that may be changed says which
/// models run.
fn same_pod(old: &Value, new: &Value) -> bool {
    old.is_object() && images(old) == images(new) && our_annotations(old) == our_annotations(new)
}

fn images(pod: &Value) -> BTreeMap<(&str, &str), &Value> {
    let lists = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    let of_list = |list: &'static str| {
        let containers = pod.pointer(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        containers.iter().map(move |it| ((list, it["name"].as_str().unwrap_or_default()), &it["image"]))
    };
    lists.into_iter().flat_map(of_list).collect()
}

fn our_annotations(object: &Value) -> BTreeMap<&str, &Value> {
    let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
    let ours = |key: &str| {
        let domain = key.split('/').next().unwrap_or_default();
        domain == "weighbridge.dev" || domain.ends_with(".weighbridge.dev")
    };
    annotations.into_iter().flatten().filter(|(key, _)| ours(key)).map(|(key, value)| (key.as_str(), value)).collect()
}

fn same_template(kind: Kind, old: &Value, new: &Value) -> bool {
    let (old, new) = (old.pointer(kind.template()), new.pointer(kind.template()));
    new.is_some() && old == new
}

/// Whether a controller of the cluster makes this from another object that carries the same template: that one was judged
/// when it was applied, its author sees the answer there, and every Pod is judged afresh.
///
/// Looking the owner up would be a call to the API server in the middle of a call from it. That is not needed to be
/// sure: the account cannot be claimed (nobody acts as a controller of `kube-system` who does not rule the cluster
/// already), and under this account the API says who the owner is. Anybody else's ReplicaSet or Job is judged,
/// whatever it says of its owner.
fn is_made_by_controller(kind: Kind, new: &Value, user: &str) -> bool {
    let Some((version, owner, account)) = made_by(kind) else { return false };
    let owners = new.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owned = owners.into_iter().flatten().any(|reference| {
        reference["controller"] == true && reference["apiVersion"] == version && reference["kind"] == owner
    });
    owned && [account, CONTROLLER_MANAGER].contains(&user)
}

fn names<'a>(object: &'a Value, at: &str) -> BTreeSet<&'a str> {
    list(object, at).filter_map(|container| container["name"].as_str()).collect()
}

fn list<'a>(object: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(at).and_then(Value::as_array).into_iter().flatten()
}
