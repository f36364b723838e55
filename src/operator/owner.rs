//! Who owns what the operator makes outside of namespaces of workloads: the chart's ClusterRole, so that the garbage
//! collector takes it along when the chart goes, should nobody have run the uninstaller.

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, ResourceExt};

use super::call::CallFailed;

/// A reference to the ClusterRole of that name, as it is now; `None` where there is none: a reference to an object that
/// does not exist would get its dependents collected at once.
pub async fn reference(roles: &Api<ClusterRole>, name: &str) -> Result<Option<OwnerReference>, CallFailed> {
    let role = roles.get_opt(name).await.map_err(CallFailed::when("read the ClusterRole that owns what is made"))?;
    Ok(role.and_then(|role| role.uid()).map(|uid| OwnerReference {
        api_version: "rbac.authorization.k8s.io/v1".to_owned(),
        kind: "ClusterRole".to_owned(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    }))
}
