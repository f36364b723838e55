//! With which ids containers read, and whether they can write whatever their mounts say.

use k8s_openapi::api::core::v1::{PodSecurityContext, SELinuxOptions, SecurityContext};

use super::Ids;

/// The ids of a Pod's containers, where a container sets none of its own.
pub(super) fn of_pod(context: Option<&PodSecurityContext>) -> Ids {
    let Some(context) = context else { return Ids::default() };
    let groups = context.supplemental_groups.iter().flatten().copied().chain(context.fs_group);
    let mut groups: Vec<i64> = groups.filter(|group| *group != 0).collect();
    groups.sort_unstable();
    groups.dedup();
    Ids {
        user: context.run_as_user.filter(|id| *id != 0),
        group: context.run_as_group.filter(|id| *id != 0),
        groups,
        selinux: context.se_linux_options.as_ref().map(selinux),
    }
}

/// The ids of one container: what it sets itself hides what the Pod sets, also when it sets 0 (which is left out).
pub(super) fn of_container(pod: &Ids, context: Option<&SecurityContext>) -> Ids {
    let Some(context) = context else { return pod.clone() };
    let explicit = |own: Option<i64>, inherited: Option<i64>| own.or(inherited).filter(|id| *id != 0);
    Ids {
        user: explicit(context.run_as_user, pod.user),
        group: explicit(context.run_as_group, pod.group),
        groups: pod.groups.clone(),
        selinux: context.se_linux_options.as_ref().map(selinux).or_else(|| pod.selinux.clone()),
    }
}

fn selinux(options: &SELinuxOptions) -> [String; 4] {
    let SELinuxOptions { level, role, type_, user } = options;
    [user, role, type_, level].map(|part| part.clone().unwrap_or_default())
}

/// The field of a security context that lets a container change any mount of its Pod.
///
/// A privileged container reaches the node's disks; one with `SYS_ADMIN` mounts anew what is mounted read-only.
pub(crate) fn overpowers_mounts(context: Option<&SecurityContext>) -> Option<&'static str> {
    let context = context?;
    if context.privileged == Some(true) {
        return Some("securityContext.privileged");
    }
    let host_process = context.windows_options.as_ref().and_then(|options| options.host_process);
    if host_process == Some(true) {
        return Some("securityContext.windowsOptions.hostProcess");
    }
    let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_deref());
    added.is_some_and(|added| added.iter().any(|name| is_admin(name))).then_some("securityContext.capabilities.add")
}

/// Runtimes take capabilities in any case, some with their kernel prefix; `ALL` contains it.
fn is_admin(capability: &str) -> bool {
    let name = capability.to_ascii_uppercase();
    matches!(name.strip_prefix("CAP_").unwrap_or(&name), "SYS_ADMIN" | "ALL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(context: serde_json::Value) -> SecurityContext {
        serde_json::from_value(context).unwrap()
    }

    #[test]
    fn root_is_no_explicit_id() {
        let pod: PodSecurityContext = serde_json::from_value(
            json!({ "runAsUser": 1000, "runAsGroup": 0, "fsGroup": 7, "supplementalGroups": [9, 0, 7] }),
        )
        .unwrap();
        let ids = of_pod(Some(&pod));
        assert_eq!(ids, Ids { user: Some(1000), group: None, groups: vec![7, 9], selinux: None });
        assert_eq!(of_container(&ids, Some(&container(json!({ "runAsUser": 0 })))).user, None);
        assert_eq!(of_container(&ids, Some(&container(json!({ "runAsUser": 5 })))).user, Some(5));
        assert_eq!(of_container(&ids, None), ids);
    }

    #[test]
    fn selinux_options_of_the_container_hide_those_of_the_pod() {
        let pod: PodSecurityContext = serde_json::from_value(json!({ "seLinuxOptions": { "level": "s0" } })).unwrap();
        let own = container(json!({ "seLinuxOptions": { "type": "t", "user": "u", "role": "r" } }));
        let ids = of_container(&of_pod(Some(&pod)), Some(&own));
        assert_eq!(ids.selinux, Some(["u", "r", "t", ""].map(str::to_owned)));
    }

    #[test]
    fn who_can_write_whatever_the_mounts_say() {
        for (context, expected) in [
            (json!({}), false),
            (json!({ "privileged": false }), false),
            (json!({ "privileged": true }), true),
            (json!({ "windowsOptions": { "hostProcess": true } }), true),
            (json!({ "capabilities": { "add": ["NET_ADMIN"] } }), false),
            (json!({ "capabilities": { "add": ["SYS_ADMIN"] } }), true),
            (json!({ "capabilities": { "add": ["cap_sys_admin"] } }), true),
            (json!({ "capabilities": { "add": ["ALL"] } }), true),
            (json!({ "capabilities": { "drop": ["ALL"] } }), false),
        ] {
            assert_eq!(overpowers_mounts(Some(&container(context.clone()))).is_some(), expected, "{context}");
        }
    }
}
