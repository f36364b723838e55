//! What the accounts of weighbridge may do: one table, from which the chart's roles are made.
//!
//! Each row says why it is there. A right that no code uses is taken out here, and nowhere else. To custom resources the
//! operator has rights by a role that others add to: what it starts with are the kinds that are known without a `ModelKind`.

use std::collections::{BTreeMap, BTreeSet};

use super::helm::{LABELS, NAMESPACE, OPERATOR, WEBHOOK};
use super::{Artifact, notice};
use crate::workload::CustomKinds;

/// Who is granted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    Webhook,
    Operator,
}

/// Where a grant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In the namespace of weighbridge.
    Own,
}

/// Which objects a grant is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Any,
    /// These alone; Helm expressions are expanded.
    Only(Words),
    /// The Secrets that the chart value lists; no rule at all while it is empty.
    TrustSecrets,
}

/// One row: an account may do `verbs` to `resources`, because.
struct Grant {
    account: Account,
    scope: Scope,
    group: &'static str,
    resources: Words,
    verbs: Words,
    names: Names,
    why: &'static str,
}

use Account::{Operator, Webhook};
use Names::{Any, Only, TrustSecrets};
use Scope::{Cluster, Own};

/// What people need to read a kind.
const READ: Words = &["get", "list", "watch"];
/// What an index needs to follow a kind.
const FOLLOW: Words = &["list", "watch"];
/// What server-side apply needs: it makes what does not exist.
const APPLY: Words = &["create", "patch"];
const API: &str = "weighbridge.dev";
const SERVING_SECRET: &str = "{{ .Values.tls.secretName }}";
const CA_SECRET: &str = "{{ .Values.tls.caSecretName }}";

/// The name of the webhook configurations that the operator's leader owns.
const WEBHOOK_CONFIGURATION: &str = "weighbridge";
/// The name of the operator's Deployment and of its cluster role.
const OPERATOR_NAME: &str = "weighbridge-operator";

type Words = &'static [&'static str];

const fn grant(
    account: Account,
    scope: Scope,
    group: &'static str,
    resources: Words,
    verbs: Words,
    names: Names,
    why: &'static str,
) -> Grant {
    Grant { account, scope, group, resources, verbs, names, why }
}

#[rustfmt::skip]
const GRANTS: &[Grant] = &[
    // The webhook decides from its index: it reads, and asks for records.
    grant(Webhook, Cluster, "", &["namespaces", "persistentvolumeclaims", "persistentvolumes"], FOLLOW, Any,
        "which policies match, and what lies behind a claim"),
    grant(Webhook, Cluster, API, &["clustermodelpolicies", "modelkinds", "modelpolicies", "modelverifications"], FOLLOW, Any,
        "what to decide by"),
    grant(Webhook, Cluster, API, &["modelverifications"], &["create"], Any,
        "a Pod used what has no record yet; a guard keeps its status out of reach"),
    grant(Webhook, Own, API, &["backingstores"], FOLLOW, Any,
        "write epochs"),
    grant(Webhook, Own, "", &["configmaps"], FOLLOW, Any,
        "public keys that policies refer to, by label"),
    grant(Webhook, Own, "", &["secrets"], FOLLOW, TrustSecrets,
        "public keys that policies refer to, each by its name: a right to list all would include the key of the CA"),
    grant(Webhook, Own, "", &["secrets"], FOLLOW, Only(&[SERVING_SECRET]),
        "the serving pair"),
    grant(Webhook, Own, "coordination.k8s.io", &["leases"], APPLY, Any,
        "what each replica serves"),

    // The operator: what workloads use.
    grant(Operator, Cluster, "", &["namespaces", "persistentvolumeclaims", "persistentvolumes", "pods"], FOLLOW, Any,
        "what workloads use, and what lies behind it"),
    grant(Operator, Cluster, "", &["nodes"], &["get"], Any,
        "whether the node of a writer that vanished is gone with it"),
    grant(Operator, Cluster, "storage.k8s.io", &["volumeattachments"], &["list"], Any,
        "whether the storage of a writer that vanished was detached from its node"),
    grant(Operator, Cluster, "storage.k8s.io", &["csidrivers"], &["get"], Any,
        "whether a driver attaches at all"),
    grant(Operator, Cluster, "apps", &["daemonsets", "deployments", "replicasets", "statefulsets"], FOLLOW, Any,
        "what workloads use"),
    grant(Operator, Cluster, "batch", &["cronjobs", "jobs"], FOLLOW, Any,
        "what workloads use"),
    // The operator: records and their verifiers.
    grant(Operator, Cluster, "", &["namespaces", "persistentvolumeclaims", "persistentvolumes"], &["get"], Any,
        "whether they are still what was read, before what was found counts or a Pod is let go"),
    grant(Operator, Cluster, "", &["pods"], &["get", "create", "patch", "delete"], Any,
        "verifier Pods, and our gate and finalizer on others; a guard limits this account to them"),
    grant(Operator, Cluster, API, &["clustermodelpolicies", "modelpolicies"], FOLLOW, Any,
        "what to verify"),
    grant(Operator, Cluster, API, &["modelkinds"], FOLLOW, Any,
        "what the webhook is to be asked about"),
    grant(Operator, Cluster, API, &["clustermodelpolicies/status", "modelpolicies/status"], &["patch"], Any,
        "what became of a policy"),
    grant(Operator, Cluster, API, &["modelverifications", "workloadverifications"], &["list", "watch", "create", "patch", "delete"], Any,
        "records and the status that people look up"),
    grant(Operator, Cluster, API, &["modelverifications/status", "workloadverifications/status"], &["patch"], Any,
        "this account alone writes it"),
    grant(Operator, Cluster, "events.k8s.io", &["events"], &["create", "patch"], Any,
        "to say what happened, where people look"),
    grant(Operator, Own, API, &["backingstores"], &["get", "list", "watch", "create", "delete"], Any,
        "write epochs"),
    grant(Operator, Own, API, &["backingstores/status"], &["patch"], Any,
        "write epochs"),
    grant(Operator, Own, "", &["configmaps"], FOLLOW, Any,
        "public keys that policies refer to, by label"),
    grant(Operator, Own, "", &["secrets"], FOLLOW, TrustSecrets,
        "public keys that policies refer to, each by its name"),
    // The operator: the webhook's registration.
    grant(Operator, Cluster, "admissionregistration.k8s.io",
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"], &["create"], Any,
        "to register the webhook; creation cannot be limited by name"),
    grant(Operator, Cluster, "admissionregistration.k8s.io",
        &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"], &["update", "patch", "delete"],
        Only(&[WEBHOOK_CONFIGURATION]),
        "to keep, arm and remove our own registration"),
    grant(Operator, Cluster, "admissionregistration.k8s.io", &["validatingwebhookconfigurations"], &["get"],
        Only(&[WEBHOOK_CONFIGURATION]),
        "whether it was armed, which a restart of the operator must not change"),
    grant(Operator, Cluster, "rbac.authorization.k8s.io", &["clusterroles"], &["get"], Only(&[OPERATOR_NAME]),
        "our own, which owns the registration, so that it goes when the chart goes"),
    grant(Operator, Own, "", &["configmaps"], &["create"], Any,
        "the probe, as a dry run, before the webhook is armed"),
    grant(Operator, Own, "", &["secrets"], &["create"], Any,
        "the CA and the serving pair; creation cannot be limited by name"),
    grant(Operator, Own, "", &["secrets"], &["get", "patch"], Only(&[SERVING_SECRET, CA_SECRET]),
        "to renew the CA and the serving pair"),
    grant(Operator, Own, "coordination.k8s.io", &["leases"], &["get", "list", "watch", "create", "update", "patch"], Any,
        "leadership, and what each replica of the webhook serves"),
    grant(Operator, Own, "apps", &["deployments/scale"], &["patch"], Only(&[OPERATOR_NAME]),
        "uninstalling stops the operator first, else it would register the webhook again"),
];

/// A role for the cluster's users.
struct UserRole {
    name: &'static str,
    /// Roles of Kubernetes' own that get these rights too.
    into: Words,
    resources: Words,
    verbs: Words,
}

/// Rights that users of the cluster get, most of them by the roles that they have already.
const USER_ROLES: &[UserRole] = &[
    UserRole {
        name: "weighbridge-view",
        into: &["view", "edit", "admin"],
        resources: &[
            "clustermodelpolicies",
            "modelkinds",
            "modelpolicies",
            "modelverifications",
            "workloadverifications",
        ],
        verbs: READ,
    },
    // The status of records is out of their reach by a guard, whatever a role says; policies of a namespace only tighten.
    UserRole {
        name: "weighbridge-edit",
        into: &["edit", "admin"],
        resources: &["modelpolicies", "modelverifications"],
        verbs: &["create", "update", "patch", "delete"],
    },
    // To be bound by hand in our namespace. A guard keeps it to the one annotation that clears writers.
    UserRole {
        name: "weighbridge-clear-writers",
        into: &[],
        resources: &["backingstores"],
        verbs: &["get", "list", "watch", "patch"],
    },
];

/// The cluster role by which the operator reads custom resources: the sum of all that carry [`AGGREGATE`].
const CUSTOM_KINDS: &str = "weighbridge-operator-kinds";
/// The label by which a cluster role adds to what the operator may read.
const AGGREGATE: &str = "weighbridge.dev/aggregate-to-operator: \"true\"";
/// The cluster role with the kinds that are known.
const KNOWN_KINDS: &str = "weighbridge-known-kinds";

/// The chart's template with every role and binding.
pub(super) fn artifact() -> Artifact {
    let mut text = notice("src/generate/rbac.rs");
    for account in [Webhook, Operator] {
        for scope in [Cluster, Own] {
            text += &role(account, scope);
        }
    }
    text += &custom_kinds();
    text.extend(USER_ROLES.iter().map(user_role));
    Artifact { path: "charts/weighbridge/templates/rbac.yaml".into(), content: text }
}

/// A role and its binding.
fn role(account: Account, scope: Scope) -> String {
    let (name, subject) = match account {
        Webhook => ("weighbridge-webhook", WEBHOOK),
        Operator => (OPERATOR_NAME, OPERATOR),
    };
    let (kind, place) = match scope {
        Cluster => ("ClusterRole", String::new()),
        Own => ("Role", format!("  namespace: {NAMESPACE}\n")),
    };
    let header = |kind: &str| {
        format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n{place}{LABELS}"
        )
    };
    let rules: String =
        GRANTS.iter().filter(|grant| grant.account == account && grant.scope == scope).map(rule).collect();
    format!(
        "{}rules:\n{rules}{}roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {name}}}\nsubjects:\n\
         - kind: ServiceAccount\n  name: {subject}\n  namespace: {NAMESPACE}\n",
        header(kind),
        header(&format!("{kind}Binding")),
    )
}

/// What the operator may read of custom resources: the role that grows, and what it starts with.
fn custom_kinds() -> String {
    let kinds = CustomKinds::default();
    let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kind in kinds.namespaced() {
        groups.entry(kind.group).or_default().extend(kind.resources);
    }
    let rule = |(group, resources): (&str, BTreeSet<&str>)| {
        let resources: Vec<&str> = resources.into_iter().collect();
        let (resources, verbs) = (resources.join(", "), FOLLOW.join(", "));
        format!("- apiGroups: [{group}]\n  resources: [{resources}]\n  verbs: [{verbs}]\n")
    };
    let rules: String = groups.into_iter().map(rule).collect();
    format!(
        "---\n# what custom resources use; rights for kinds that a ModelKind adds come by the label, in roles of the platform\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {CUSTOM_KINDS}\n{LABELS}\
         aggregationRule:\n  clusterRoleSelectors:\n  - matchLabels:\n      {AGGREGATE}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: {CUSTOM_KINDS}\n{LABELS}\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {CUSTOM_KINDS}}}\nsubjects:\n\
         - kind: ServiceAccount\n  name: {OPERATOR}\n  namespace: {NAMESPACE}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {KNOWN_KINDS}\n{LABELS}\
         \u{20}   {AGGREGATE}\nrules:\n{rules}",
    )
}

fn rule(grant: &Grant) -> String {
    let Grant { account: _, scope: _, group, resources, verbs, names, why } = grant;
    let rule = format!(
        "# {why}\n- apiGroups: [{group:?}]\n  resources: [{}]\n  verbs: [{}]\n",
        resources.join(", "),
        verbs.join(", ")
    );
    match names {
        Any => rule,
        Only(names) => format!("{rule}  resourceNames: [{}]\n", quoted(names)),
        TrustSecrets => format!(
            "{{{{- with .Values.trust.secretNames }}}}\n{rule}  resourceNames: {{{{ toJson . }}}}\n{{{{- end }}}}\n"
        ),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn user_role(role: &UserRole) -> String {
    let UserRole { name, into, resources, verbs } = role;
    let labels: String =
        into.iter().map(|role| format!("    rbac.authorization.k8s.io/aggregate-to-{role}: \"true\"\n")).collect();
    format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: {name}\n{LABELS}{labels}\
         rules:\n- apiGroups: [{API}]\n  resources: [{}]\n  verbs: [{}]\n",
        resources.join(", "),
        verbs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(account: Account) -> impl Iterator<Item = &'static Grant> {
        GRANTS.iter().filter(move |grant| grant.account == account)
    }

    #[test]
    fn nobody_reads_secrets_but_by_name_in_our_namespace() {
        for grant in GRANTS.iter().filter(|grant| grant.resources.contains(&"secrets")) {
            assert_eq!(grant.scope, Own, "{}", grant.why);
            assert!(grant.names != Any || grant.verbs == ["create"], "{}", grant.why);
        }
    }

    #[test]
    fn the_webhook_cannot_reach_the_key_of_the_ca() {
        assert!(grants(Webhook).all(|grant| !matches!(grant.names, Only(names) if names.contains(&CA_SECRET))));
    }

    #[test]
    fn nothing_is_granted_wholesale_and_nobody_may_exec_or_read_logs() {
        for grant in GRANTS {
            for word in grant.resources.iter().chain(grant.verbs).chain([&grant.group]) {
                assert!(!word.contains('*'), "{}", grant.why);
            }
            let forbidden = ["pods/exec", "pods/attach", "pods/portforward", "pods/log", "pods/ephemeralcontainers"];
            assert!(grant.resources.iter().all(|resource| !forbidden.contains(resource)), "{}", grant.why);
        }
    }

    #[test]
    fn custom_resources_are_only_read_and_never_those_of_kubernetes_itself() {
        let kinds = CustomKinds::default();
        for kind in kinds.namespaced() {
            let core = ["apps", "batch", "rbac.authorization.k8s.io"].contains(&kind.group);
            assert!(kind.group.contains('.') && !core, "{}", kind.group);
            assert!(!kind.resources.iter().any(|resource| resource.contains(['*', '/'])), "{}", kind.kind);
        }
        let text = custom_kinds();
        assert!(text.contains("- apiGroups: [serving.kserve.io]\n  resources: [inferenceservices, "), "{text}");
        let verbs = text.lines().filter(|line| line.trim_start().starts_with("verbs:"));
        assert!(verbs.clone().count() > 10 && verbs.clone().all(|line| line == "  verbs: [list, watch]"), "{text}");
        assert!(!text.contains("localmodelcaches"), "what lies in no namespace has no status");
    }

    #[test]
    fn the_webhook_writes_nothing_in_other_namespaces_but_new_records() {
        for grant in grants(Webhook).filter(|grant| grant.scope == Cluster && grant.verbs != FOLLOW) {
            assert_eq!((grant.resources, grant.verbs), (&["modelverifications"][..], &["create"][..]));
        }
    }
}
