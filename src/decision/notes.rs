//! What a person may want to know although nothing is wrong with any use.

use super::scene::Scene;
use crate::model::shown;

/// How many annotations are named. Somebody who has misspelt more has misspelt one thing many times.
const MAX_NOTES: usize = 8;

/// Annotations of ours that name no volume of the Pod: most likely a name is misspelt. They change nothing.
pub(super) fn of(scene: &Scene<'_>) -> Vec<String> {
    let note = |annotation: &String| {
        format!("annotation {} names no volume of the Pod, so that it says nothing", shown(annotation))
    };
    scene.subject.stray_annotations.iter().take(MAX_NOTES).map(note).collect()
}
