//! Pods that were deleted a moment ago, as they were last seen.
//!
//! Receives the events of the watch on Pods before the table of Pods does; promises that the last state of each Pod that
//! the watch showed is kept for some minutes after it went, and to say since when no Pod can have come and gone unseen.
//! Only that last state tells whether a Pod had ended, or just vanished.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::watch::Event;

/// How long a Pod is kept: many rounds of the operator, and longer than it takes to elect another leader.
const KEPT: SignedDuration = SignedDuration::from_mins(5);
/// Most Pods that are kept: 100 MiB at 10 KiB each. A cluster that deletes more within [`KEPT`] has others problems; what
/// is dropped then counts as unseen.
const MAX_KEPT: usize = 10_000;

/// Pods that were deleted a moment ago.
#[derive(Debug, Default)]
pub(super) struct GonePods {
    pods: Arc<HashMap<String, Arc<Pod>>>,
    since: HashMap<String, Timestamp>,
    complete_since: Option<Timestamp>,
}

impl GonePods {
    /// Takes in what is about to happen to the Pods that are there.
    pub(super) fn take(&mut self, event: &Event<Pod>, there: &HashMap<(String, String), Arc<Pod>>, now: Timestamp) {
        match event {
            Event::Alive => {}
            Event::Delete(pod) => self.keep(Arc::new(slim(pod.clone())), now),
            // Another Pod of the same name: the deletion of the first was missed.
            Event::Apply(pod) => {
                let before = there.get(&(pod.namespace().unwrap_or_default(), pod.name_any()));
                if let Some(before) = before.filter(|before| before.uid() != pod.uid()) {
                    self.keep(Arc::clone(before), now);
                }
            }
            Event::Reset(pods) => {
                let listed: std::collections::HashSet<Option<String>> = pods.iter().map(ResourceExt::uid).collect();
                for before in there.values().filter(|before| !listed.contains(&before.uid())) {
                    self.keep(Arc::clone(before), now);
                }
                self.complete_since = Some(now);
            }
        }
        self.forget(now);
    }

    /// The Pods by uid.
    pub(super) fn pods(&self) -> Arc<HashMap<String, Arc<Pod>>> {
        Arc::clone(&self.pods)
    }

    /// Since when no Pod can have come and gone unseen.
    pub(super) fn complete_since(&self) -> Option<Timestamp> {
        self.complete_since
    }

    fn keep(&mut self, pod: Arc<Pod>, now: Timestamp) {
        let uid = pod.uid().unwrap_or_default();
        if self.since.len() >= MAX_KEPT && !self.since.contains_key(&uid) {
            self.complete_since = Some(now);
            return;
        }
        self.since.insert(uid.clone(), now);
        Arc::make_mut(&mut self.pods).insert(uid, pod);
    }

    fn forget(&mut self, now: Timestamp) {
        let old = |since: &Timestamp| now.duration_since(*since) > KEPT;
        if self.since.values().any(old) {
            let pods = Arc::make_mut(&mut self.pods);
            self.since.retain(|uid, since| !old(since) || pods.remove(uid).is_none());
        }
    }
}

fn slim(mut pod: Pod) -> Pod {
    pod.metadata.managed_fields = None;
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod(name: &str, uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("ns".into());
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(uid.into());
        pod
    }

    fn there(pods: &[Pod]) -> HashMap<(String, String), Arc<Pod>> {
        pods.iter().map(|pod| (("ns".to_owned(), pod.name_any()), Arc::new(pod.clone()))).collect()
    }

    fn uids(gone: &GonePods) -> Vec<String> {
        let mut uids: Vec<String> = gone.pods().keys().cloned().collect();
        uids.sort();
        uids
    }

    #[test]
    fn the_last_state_is_kept_for_minutes() {
        let mut gone = GonePods::default();
        let none = there(&[]);
        gone.take(&Event::Reset(vec![]), &none, at(0));
        let mut last = pod("a", "1");
        last.status =
            Some(k8s_openapi::api::core::v1::PodStatus { phase: Some("Failed".into()), ..Default::default() });
        gone.take(&Event::Delete(last), &there(&[pod("a", "1")]), at(10));
        assert_eq!(gone.pods()["1"].status.as_ref().unwrap().phase.as_deref(), Some("Failed"));
        gone.take(&Event::Alive, &none, at(10 + 300));
        assert_eq!(uids(&gone), ["1"]);
        gone.take(&Event::Alive, &none, at(10 + 301));
        assert_eq!(uids(&gone), [""; 0]);
        assert_eq!(gone.complete_since(), Some(at(0)));
    }

    #[test]
    fn what_a_list_no_longer_shows_is_gone_and_more_may_be() {
        let mut gone = GonePods::default();
        gone.take(&Event::Reset(vec![]), &there(&[]), at(0));
        gone.take(&Event::Reset(vec![pod("b", "2")]), &there(&[pod("a", "1"), pod("b", "2")]), at(7));
        assert_eq!(uids(&gone), ["1"]);
        assert_eq!(gone.complete_since(), Some(at(7)));
    }

    #[test]
    fn another_pod_of_the_same_name_means_that_the_first_is_gone() {
        let mut gone = GonePods::default();
        gone.take(&Event::Apply(pod("a", "2")), &there(&[pod("a", "1")]), at(1));
        gone.take(&Event::Apply(pod("b", "3")), &there(&[pod("b", "3")]), at(1));
        assert_eq!(uids(&gone), ["1"]);
    }
}
