//! The Pod that reads a claim.
//!
//! Receives what is to be read, by whom and with what; promises a Pod that passes the `restricted` Pod security level,
//! has no token, cannot change what it reads and never runs as root; never sends it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, EnvVar, KeyToPath, LocalObjectReference, NodeAffinity,
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaimVolumeSource, Pod,
    PodSecurityContext, PodSpec, ResourceRequirements, SELinuxOptions, SeccompProfile, SecurityContext, Toleration,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::situation::Fetch;
use crate::api::names::with_hash;
use crate::api::v1alpha1::BundleLocation;
use crate::workload::Ids;

/// How names of verifier Pods begin: reserved by a guard in the API server.
pub const NAME_PREFIX: &str = "weighbridge-verifier-";
/// The name of our container in it.
pub const CONTAINER: &str = "verifier";
/// The name of the volume that is read.
pub const VOLUME: &str = "claim";
/// The name of the volume with a bundle that stands in a ConfigMap.
pub const BUNDLE_VOLUME: &str = "bundle";
/// Where that bundle is mounted, as a file.
pub const BUNDLE_FILE: &str = "/bundle/bundle";
/// The variable that says in how many pieces a bundle comes that stood in an annotation. Each stands in a variable of this
/// name, `_` and its number, from 0.
pub const BUNDLE_VARIABLE: &str = "WEIGHBRIDGE_BUNDLE";
/// Label of verifier Pods, for people: by itself it means nothing.
pub const COMPONENT: (&str, &str) = ("weighbridge.dev/component", "verifier");

/// Where the claim is mounted.
const ROOT: &str = "/claim";
/// Longest part of the record's name in a Pod's name, so that prefix, name, dash and hash fit a host name (63, RFC 1123).
const NAME_RECORD_CHARS: usize = 33;
/// Hex digits of the nonce's hash in a Pod's name: tells the runs of one record apart.
const NAME_HASH_CHARS: usize = 8;
/// The variable that says how many pieces of trust material there are; each stands in a variable of this name, `_` and
/// its number, from 0.
pub const TRUST_VARIABLE: &str = "WEIGHBRIDGE_TRUST";
/// The user and group that nobody else has, where neither workload nor policy names others (the `nonroot` of common
/// minimal images).
pub const NOBODY: i64 = 65532;
/// Longest piece of trust material: the kernel takes 128 KiB for one string of an environment, name included.
pub const MAX_TRUST_PIECE_BYTES: usize = 120 * 1024;
/// Longest trust material in all. The kernel takes a quarter of the stack's limit for arguments and environment, of
/// which the usual 8 MiB make 2; an object of the API server must stay below 1.5 MiB, and a Pod carries its environment
/// once more in the fields that note who manages what of it, without the values.
pub const MAX_TRUST_BYTES: usize = 1 << 20;

/// What every verifier Pod of an installation has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifierSettings {
    /// The image, with a digest: `repository@sha256:…`.
    pub image: String,
    /// Names of Secrets in the workloads' namespaces with which the image is pulled.
    pub image_pull_secrets: Vec<String>,
    /// Requests and limits of the container.
    pub resources: ResourceRequirements,
    /// Bytes per second that a verifier reads at most.
    pub io_limit: Option<u64>,
    /// How long a verifier may take, in seconds.
    pub deadline_seconds: i64,
    /// Registries that are spoken to without TLS.
    pub insecure_registries: Vec<String>,
}

/// One read to be made.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Namespace of record and claim.
    pub namespace: &'a str,
    /// Name of the record.
    pub record: &'a str,
    /// Its uid.
    pub record_uid: &'a str,
    /// Name of the claim.
    pub claim: &'a str,
    /// Path in it.
    pub path: &'a str,
    /// Where the bundle is, as the record says it.
    pub signature: &'a str,
    /// The bundle, where the record holds it.
    pub bundle: Option<&'a str>,
    /// From where the bundle may be fetched.
    pub fetch: &'a Fetch,
    /// Whether the bundle alone is read.
    pub signature_only: bool,
    /// What binds the result to this read.
    pub nonce: &'a str,
    /// The trust material: pieces, each as JSON.
    pub trust: &'a [String],
    /// With which ids it is read.
    pub ids: &'a Ids,
    /// Where it may run.
    pub placement: &'a Placement,
}

/// Where a verifier may run: where the workload may.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// The workload's node selector.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// The workload's node affinity. Its affinity to other Pods speaks of its own labels, and is left out.
    pub node_affinity: Option<NodeAffinity>,
    /// The workload's tolerations.
    pub tolerations: Option<Vec<Toleration>>,
    /// The one node where a claim that only one node can use is in use.
    pub node: Option<String>,
}

impl Placement {
    /// That of a workload.
    pub fn of(spec: &PodSpec) -> Placement {
        Placement {
            node_selector: spec.node_selector.clone(),
            node_affinity: spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone()),
            tolerations: spec.tolerations.clone(),
            node: None,
        }
    }

    /// Pinned to a node: every alternative of the workload's affinity demands it as well.
    fn affinity(&self) -> Option<Affinity> {
        let mut affinity = self.node_affinity.clone().unwrap_or_default();
        if let Some(node) = &self.node {
            let pin = NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.clone()]),
            };
            let required = affinity
                .required_during_scheduling_ignored_during_execution
                .get_or_insert_with(|| NodeSelector { node_selector_terms: vec![NodeSelectorTerm::default()] });
            for term in &mut required.node_selector_terms {
                term.match_fields.get_or_insert_default().push(pin.clone());
            }
        }
        let empty = affinity == NodeAffinity::default();
        (!empty).then(|| Affinity { node_affinity: Some(affinity), ..Affinity::default() })
    }
}

/// The name of the Pod of one run.
pub fn name(record: &str, nonce: &str) -> String {
    format!("{NAME_PREFIX}{}", with_hash(record, NAME_RECORD_CHARS, nonce, NAME_HASH_CHARS))
}

/// The Pod of one run.
pub fn build(order: &Order<'_>, settings: &VerifierSettings) -> Pod {
    let Order { namespace, record, record_uid, nonce, .. } = order;
    let metadata = ObjectMeta {
        name: Some(name(record, nonce)),
        namespace: Some((*namespace).to_owned()),
        labels: Some(map([COMPONENT, ("app.kubernetes.io/name", "weighbridge")])),
        annotations: Some(map([("sidecar.istio.io/inject", "false"), ("weighbridge.dev/record", record)])),
        owner_references: Some(vec![OwnerReference {
            api_version: "weighbridge.dev/v1alpha1".to_owned(),
            kind: "ModelVerification".to_owned(),
            name: (*record).to_owned(),
            uid: (*record_uid).to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }]),
        ..ObjectMeta::default()
    };
    let secrets = settings.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    let spec = PodSpec {
        active_deadline_seconds: Some(settings.deadline_seconds),
        affinity: order.placement.affinity(),
        automount_service_account_token: Some(false),
        containers: vec![container(order, settings)],
        enable_service_links: Some(false),
        image_pull_secrets: (!settings.image_pull_secrets.is_empty()).then(|| secrets.collect()),
        node_selector: order.placement.node_selector.clone(),
        restart_policy: Some("Never".to_owned()),
        security_context: Some(security(order.ids)),
        tolerations: order.placement.tolerations.clone(),
        volumes: Some(volumes(order)),
        ..PodSpec::default()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

/// The claim, and the ConfigMap that the bundle stands in. One that does not exist is no reason not to start: the verifier
/// says so.
fn volumes(order: &Order<'_>) -> Vec<Volume> {
    let claim = PersistentVolumeClaimVolumeSource { claim_name: order.claim.to_owned(), read_only: Some(true) };
    let claim = Volume { name: VOLUME.to_owned(), persistent_volume_claim: Some(claim), ..Volume::default() };
    let bundle = config_map(order).map(|(name, key)| Volume {
        name: BUNDLE_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name,
            items: Some(vec![KeyToPath { key, path: "bundle".to_owned(), ..KeyToPath::default() }]),
            optional: Some(true),
            default_mode: Some(0o444),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    });
    std::iter::once(claim).chain(bundle).collect()
}

fn config_map(order: &Order<'_>) -> Option<(String, String)> {
    match BundleLocation::of_record(order.signature) {
        Ok(BundleLocation::ConfigMap { name, key }) => Some((name, key)),
        _ => None,
    }
}

/// Everything that the API server would default among the fields that are compared later is set.
fn container(order: &Order<'_>, settings: &VerifierSettings) -> Container {
    let path = if order.path.is_empty() { "." } else { order.path };
    let mut args: Vec<String> =
        ["verifier", "--root", ROOT, "--path", path, "--signature", order.signature].map(str::to_owned).into();
    if order.signature_only {
        args.push("--signature-only".to_owned());
    }
    if let Some(limit) = settings.io_limit {
        args.extend(["--io-limit".to_owned(), limit.to_string()]);
    }
    if let Fetch::From(glob) = order.fetch {
        args.extend(["--bundle-registry".to_owned(), glob.clone()]);
        args.extend(
            settings.insecure_registries.iter().flat_map(|host| ["--insecure-registry".to_owned(), host.clone()]),
        );
    }
    let variable = |name: String, value: &str| EnvVar { name, value: Some(value.into()), ..EnvVar::default() };
    let fixed = [
        variable("WEIGHBRIDGE_NONCE".into(), order.nonce),
        variable(TRUST_VARIABLE.into(), &order.trust.len().to_string()),
    ];
    let pieces = order.trust.iter().enumerate().map(|(at, piece)| variable(format!("{TRUST_VARIABLE}_{at}"), piece));
    // Base64: nothing in it is cut in the middle of a character, or replaced by a kubelet.
    let bundle: Vec<&str> = order.bundle.map(|text| pieces_of(text, MAX_TRUST_PIECE_BYTES)).unwrap_or_default();
    let count = (!bundle.is_empty()).then(|| variable(BUNDLE_VARIABLE.into(), &bundle.len().to_string()));
    let parts = bundle.iter().enumerate().map(|(at, piece)| variable(format!("{BUNDLE_VARIABLE}_{at}"), piece));
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let folder = BUNDLE_FILE.rsplit_once('/').map_or(BUNDLE_FILE, |(folder, _)| folder);
    let mounts = std::iter::once(mount(VOLUME, ROOT)).chain(config_map(order).map(|_| mount(BUNDLE_VOLUME, folder)));
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(args),
        env: Some(fixed.into_iter().chain(pieces).chain(count).chain(parts).collect()),
        resources: Some(settings.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounts.collect()),
        ..Container::default()
    }
}

/// ASCII text in pieces of at most so many bytes.
fn pieces_of(text: &str, bytes: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((piece, after)) = rest.split_at_checked(bytes.min(rest.len())).filter(|(piece, _)| !piece.is_empty())
    {
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// No `fsGroup`: it would change the owner of the files. Never 0, also not by leaving the group to the image.
fn security(ids: &Ids) -> PodSecurityContext {
    let user = ids.user.filter(|id| *id != 0).unwrap_or(NOBODY);
    let groups: Vec<i64> = ids.groups.iter().copied().filter(|id| *id != 0).collect();
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(ids.group.filter(|id| *id != 0).unwrap_or(user)),
        supplemental_groups: (!groups.is_empty()).then_some(groups),
        se_linux_options: ids.selinux.as_ref().map(|[user, role, type_, level]| SELinuxOptions {
            user: some(user),
            role: some(role),
            type_: some(type_),
            level: some(level),
        }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    pub(in crate::operator::records) fn settings() -> VerifierSettings {
        let quantities = |cpu: &str| {
            Some(BTreeMap::from([
                ("cpu".to_owned(), Quantity(cpu.to_owned())),
                ("memory".to_owned(), Quantity("128Mi".to_owned())),
            ]))
        };
        VerifierSettings {
            image: format!("registry.example.com/weighbridge@sha256:{}", "ab".repeat(32)),
            image_pull_secrets: vec!["pull".to_owned()],
            resources: ResourceRequirements { requests: quantities("500m"), limits: quantities("2"), claims: None },
            io_limit: Some(1 << 30),
            deadline_seconds: 6 * 3600,
            insecure_registries: vec!["198.18.0.1:5000".to_owned()],
        }
    }

    pub(in crate::operator::records) fn pod(ids: &Ids, placement: &Placement) -> Pod {
        let order = Order {
            namespace: "serving",
            record: "models-0123456789",
            record_uid: "record-uid",
            claim: "models",
            path: "llama",
            signature: "volume:",
            bundle: None,
            fetch: &Fetch::Nothing,
            signature_only: false,
            nonce: "n0nce",
            trust: &[r#"{"key":{"pem":"-----BEGIN PUBLIC KEY-----"}}"#.to_owned()],
            ids,
            placement,
        };
        build(&order, &settings())
    }

    #[test]
    fn a_bundle_from_elsewhere_is_mounted_or_handed_over() {
        let text = "A".repeat(MAX_TRUST_PIECE_BYTES + 5);
        let (ids, placement) = (Ids::default(), Placement::default());
        let order = |signature, bundle| Order {
            namespace: "serving",
            record: "models-0123456789",
            record_uid: "record-uid",
            claim: "models",
            path: "llama",
            signature,
            bundle,
            fetch: &Fetch::Nothing,
            signature_only: false,
            nonce: "n0nce",
            trust: &[],
            ids: &ids,
            placement: &placement,
        };
        let spec = build(&order("configmap:bundles/model.sig", None), &settings()).spec.unwrap();
        insta::assert_yaml_snapshot!((&spec.volumes, &spec.containers[0].volume_mounts, &spec.containers[0].args));
        let inline = format!("inline:sha256:{}", "0".repeat(64));
        let spec = build(&order(&inline, Some(&text)), &settings()).spec.unwrap();
        let env: Vec<(&str, usize)> = (spec.containers[0].env.iter().flatten())
            .map(|variable| (variable.name.as_str(), variable.value.as_ref().map_or(0, String::len)))
            .filter(|(name, _)| name.starts_with(BUNDLE_VARIABLE))
            .collect();
        let whole = ("WEIGHBRIDGE_BUNDLE_0", MAX_TRUST_PIECE_BYTES);
        assert_eq!(env, [("WEIGHBRIDGE_BUNDLE", 1), whole, ("WEIGHBRIDGE_BUNDLE_1", 5)]);
        assert_eq!(spec.volumes.map(|volumes| volumes.len()), Some(1));
        let oci = format!("oci://198.18.0.1:5000/acme/signatures@sha256:{}", "0".repeat(64));
        let listed = Fetch::From("198.18.0.1:5000/acme/**".to_owned());
        let args = |fetch| {
            let spec = build(&Order { fetch, ..order(&oci, None) }, &settings()).spec.unwrap();
            spec.containers[0].args.clone().unwrap_or_default()[5..].join(" ")
        };
        let allowed = "--bundle-registry 198.18.0.1:5000/acme/** --insecure-registry 198.18.0.1:5000";
        assert!(args(&listed).starts_with(&format!("--signature {oci}")), "{}", args(&listed));
        assert!(args(&listed).contains(allowed), "{}", args(&listed));
        assert!(!args(&Fetch::Unlisted(String::new())).contains("--bundle-registry"));
    }

    #[test]
    fn a_pod_for_a_workload_without_wishes() {
        insta::assert_yaml_snapshot!(pod(&Ids::default(), &Placement::default()));
    }

    #[test]
    fn a_pod_takes_over_ids_and_placement() {
        let ids = Ids {
            user: Some(1000),
            group: None,
            groups: vec![2000, 3000],
            selinux: Some(["".into(), "".into(), "".into(), "s0:c1,c2".into()]),
        };
        let requirement =
            |key: &str| NodeSelectorRequirement { key: key.to_owned(), operator: "Exists".to_owned(), values: None };
        let term = |key: &str| NodeSelectorTerm { match_expressions: Some(vec![requirement(key)]), match_fields: None };
        let placement = Placement {
            node_selector: Some(map([("pool", "gpu")])),
            node_affinity: Some(NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                    node_selector_terms: vec![term("a"), term("b")],
                }),
                ..NodeAffinity::default()
            }),
            tolerations: Some(vec![Toleration { key: Some("gpu".to_owned()), ..Toleration::default() }]),
            node: Some("node-1".to_owned()),
        };
        let spec = pod(&ids, &placement).spec.unwrap();
        insta::assert_yaml_snapshot!((&spec.security_context, &spec.affinity, &spec.tolerations, &spec.node_selector));
    }

    #[test]
    fn zero_is_never_an_id() {
        let ids = Ids { user: Some(0), group: Some(0), groups: vec![0, 7], selinux: None };
        let context = security(&ids);
        assert_eq!((context.run_as_user, context.run_as_group), (Some(NOBODY), Some(NOBODY)));
        assert_eq!(context.supplemental_groups, Some(vec![7]));
        assert_eq!(context.fs_group, None);
    }

    #[test]
    fn names_fit_and_differ_by_run() {
        let record = format!("{}-0123456789", "m".repeat(40));
        let of = |nonce| name(&record, nonce);
        assert!(of("a").len() <= 63, "{}", of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(name("models.-x", "a").starts_with("weighbridge-verifier-models.-x-"));
    }
}
