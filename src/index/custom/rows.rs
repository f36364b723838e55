//! What is kept of the objects of one kind.
//!
//! Receives objects with the models that they use; promises never to keep more than [`MAX_KIND_BYTES`] of a kind, to
//! count what that leaves out, and that an object which alone is too large is one whose models nobody can vouch for, not
//! one without models.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::core::DynamicObject;

use super::super::watch::Event;
use crate::workload::{CustomKinds, Extract};

/// Most bytes that are kept of the objects of one kind: some 16,000 objects at the 2 KiB that most take. With a dozen
/// kinds in a cluster, of which one or two are that many, the operator stays within a hundred MiB.
const MAX_KIND_BYTES: usize = 32 << 20;
/// Most bytes that are kept of one object: a hundred uses with their paths, of which a status shows 64. One that has more
/// would take the place of many others.
const MAX_OBJECT_BYTES: usize = 64 << 10;
/// What an object takes beside its uses: its name, namespace, uid and owner, and the row itself.
const ROW_BYTES: usize = 1 << 10;

/// Namespace and name.
pub(super) type Key = (String, String);

/// A custom resource, as far as anybody needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomObject {
    /// Its API version, such as `serving.kserve.io/v1beta1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Name, namespace, uid, generation, time of creation and controller.
    pub metadata: ObjectMeta,
    /// What it uses.
    pub extract: Extract,
}

/// One object on its way into the rows: nothing of it where there is no place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) key: Key,
    pub(super) object: Option<(CustomObject, usize)>,
}

/// How the objects of a kind are read.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) kinds: CustomKinds,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

impl Reader {
    /// What is kept of an object, where there is place for so many bytes.
    pub(super) fn keep(&self, object: DynamicObject, place: usize) -> Kept {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        let object = self.read(object).map(|object| (weight(&object), object));
        let fits = object.filter(|(bytes, _)| *bytes <= place);
        Kept { key, object: fits.map(|(bytes, object)| (object, bytes)) }
    }

    /// Nothing for a kind that is not known, of which nobody asks.
    fn read(&self, object: DynamicObject) -> Option<CustomObject> {
        let DynamicObject { types: _, metadata, mut data } = object;
        if let (Some(fields), Ok(metadata)) = (data.as_object_mut(), serde_json::to_value(&metadata)) {
            fields.insert("metadata".to_owned(), metadata);
        }
        let extract = self.kinds.extract(&self.group, &self.version, &self.kind, &data)?;
        let mut object = CustomObject {
            api_version: format!("{}/{}", self.group, self.version),
            kind: self.kind.clone(),
            metadata: lean(metadata),
            extract,
        };
        if weight(&object) > MAX_OBJECT_BYTES {
            let what = format!("it names more models than are kept account of ({} KiB)", MAX_OBJECT_BYTES >> 10);
            object.extract = object.extract.too_large(what);
        }
        Some(object)
    }
}

/// What somebody reads of an object's metadata.
fn lean(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, namespace, uid, generation, creation_timestamp, owner_references, .. } = metadata;
    let controller = owner_references.into_iter().flatten().find(|owner| owner.controller == Some(true));
    let owner_references = controller.map(|owner| vec![owner]);
    ObjectMeta { name, namespace, uid, generation, creation_timestamp, owner_references, ..ObjectMeta::default() }
}

/// About how many bytes an object takes: no fewer than its uses have characters where they are written out.
fn weight(object: &CustomObject) -> usize {
    let mut length = Length(ROW_BYTES);
    // Counting never fails.
    let _ = write!(length, "{:?}", object.extract);
    length.0
}

/// Counts what is written to it.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// The objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Arc<HashMap<Key, Arc<CustomObject>>>,
    weights: HashMap<Key, usize>,
    bytes: usize,
    left_out: usize,
}

impl Rows {
    /// How many bytes there is place for in an empty table.
    pub(super) const PLACE: usize = MAX_KIND_BYTES;

    /// Takes in what happened.
    pub(super) fn take(&mut self, event: Event<Kept>) {
        match event {
            Event::Alive => {}
            Event::Reset(objects) => {
                *self = Rows::default();
                objects.into_iter().for_each(|object| self.apply(object));
            }
            Event::Apply(object) => self.apply(object),
            Event::Delete(Kept { key, .. }) => {
                if !self.remove(&key) {
                    self.left_out = self.left_out.saturating_sub(1);
                }
            }
        }
    }

    /// One that changes while it is left out is counted again; the next list puts the count right.
    fn apply(&mut self, Kept { key, object }: Kept) {
        self.remove(&key);
        match object.filter(|(_, bytes)| self.bytes + bytes <= MAX_KIND_BYTES) {
            Some((object, bytes)) => {
                self.bytes += bytes;
                self.weights.insert(key.clone(), bytes);
                Arc::make_mut(&mut self.rows).insert(key, Arc::new(object));
            }
            None => self.left_out += 1,
        }
    }

    fn remove(&mut self, key: &Key) -> bool {
        let bytes = self.weights.remove(key);
        self.bytes -= bytes.unwrap_or(0);
        bytes.is_some() && Arc::make_mut(&mut self.rows).remove(key).is_some()
    }

    /// The objects as they are now.
    pub(super) fn objects(&self) -> Arc<HashMap<Key, Arc<CustomObject>>> {
        Arc::clone(&self.rows)
    }

    /// About how many objects there was no place for.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::UnknownCode;
    use crate::workload::Source;
    use serde_json::{Value, json};

    fn reader() -> Reader {
        let [group, version, kind] = ["serving.kserve.io", "v1beta1", "InferenceService"].map(str::to_owned);
        Reader { kinds: CustomKinds::default(), group, version, kind }
    }

    fn service(name: &str, predictor: Value) -> DynamicObject {
        let owner = |name: &str, controller: bool| json!({ "apiVersion": "v1", "kind": "K", "name": name, "uid": name, "controller": controller });
        let metadata = json!({ "name": name, "namespace": "ns", "uid": format!("uid-of-{name}"), "generation": 3,
            "labels": { "a": "b" }, "ownerReferences": [owner("other", false), owner("controller", true)] });
        serde_json::from_value(json!({ "metadata": metadata, "spec": { "predictor": predictor } })).unwrap()
    }

    fn uri(text: &str) -> Value {
        json!({ "model": { "storageUri": text } })
    }

    #[test]
    fn what_is_kept_is_who_it_is_and_what_it_uses() {
        let (object, bytes) = reader().keep(service("a", uri("pvc://models/llama")), Rows::PLACE).object.unwrap();
        assert_eq!(
            (object.api_version.as_str(), object.kind.as_str()),
            ("serving.kserve.io/v1beta1", "InferenceService")
        );
        assert_eq!(object.metadata.uid.as_deref(), Some("uid-of-a"));
        assert_eq!((object.metadata.generation, &object.metadata.labels), (Some(3), &None));
        assert_eq!(object.metadata.owner_references.unwrap()[0].name, "controller");
        assert_eq!(object.extract.subject.namespace, "ns");
        assert_eq!(object.extract.uses[0].claim(), Some("models"));
        assert!((ROW_BYTES..4 * ROW_BYTES).contains(&bytes), "{bytes}");
    }

    #[test]
    fn an_object_that_is_too_large_is_never_one_without_models() {
        let uris: Vec<Value> = (0..1000).map(|number| json!({ "uri": format!("pvc://models/{number}") })).collect();
        let kept = reader().keep(service("a", json!({ "storageUris": uris })), Rows::PLACE);
        let (object, bytes) = kept.object.unwrap();
        assert!(bytes < 4 * ROW_BYTES, "{bytes}");
        let [only] = &object.extract.uses[..] else { panic!("{:?}", object.extract.uses) };
        assert!(matches!(&only.source, Source::Unresolved(it) if it.code == UnknownCode::TooLarge), "{only:?}");
    }

    #[test]
    fn a_kind_never_takes_more_than_its_place_and_what_is_left_out_is_counted() {
        let mut rows = Rows::default();
        let kept = |name: &str, bytes: usize| {
            let mut kept = reader().keep(service(name, uri("pvc://models")), Rows::PLACE);
            kept.object.as_mut().unwrap().1 = bytes;
            kept
        };
        let half = MAX_KIND_BYTES / 2;
        rows.take(Event::Reset(vec![kept("a", half), kept("b", half), kept("c", 1)]));
        assert_eq!((rows.objects().len(), rows.left_out()), (2, 1));
        rows.take(Event::Delete(kept("a", half)));
        assert_eq!((rows.objects().len(), rows.left_out()), (1, 1));
        rows.take(Event::Apply(kept("b", half + 1)));
        rows.take(Event::Apply(kept("d", half - 1)));
        assert_eq!((rows.objects().len(), rows.left_out(), rows.bytes), (2, 1, MAX_KIND_BYTES));
        rows.take(Event::Apply(kept("b", half + 2)));
        assert_eq!((rows.objects().len(), rows.left_out()), (1, 2), "what no longer fits is not kept as it was");
        rows.take(Event::Delete(kept("c", 1)));
        assert_eq!((rows.objects().len(), rows.left_out()), (1, 1));
        rows.take(Event::Reset(vec![Kept { key: ("ns".into(), "x".into()), object: None }]));
        assert_eq!((rows.objects().len(), rows.left_out(), rows.bytes), (0, 1, 0));
    }

    #[test]
    fn there_is_no_place_beyond_what_is_left() {
        assert_eq!(reader().keep(service("a", uri("pvc://models")), ROW_BYTES).object, None);
    }
}
