//! What the Python reference signs, we verify, and the reverse; what one of us refuses after a change, the other refuses.
//!
//! A generated table: signers × methods × hashes × trees × places of the bundle. By default it is run so that any two
//! values of different columns meet at least once; `WEIGHBRIDGE_E2E_FULL=1` runs every combination. Where we are stricter
//! on purpose stands in [`stricter`], and in the README. It needs the reference (`e2e/lib/model`) and no cluster:
//!
//!     WEIGHBRIDGE_E2E_SIGNER=$(e2e/lib/model | tail -n 1)/signer cargo test -p weighbridge-e2e --test interop

mod ours;
mod reference;
mod stricter;
mod table;
mod trees;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use reference::Reference;
use table::{Case, Place, cases};
use trees::{Built, Change, Links};

/// The release that is compared with; another one is another table.
const RELEASE: &str = "1.1.1";

/// Who signs, or verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Reference,
    Ours,
}

const SIDES: [Side; 2] = [Side::Reference, Side::Ours];

/// The two programs, the keys, and what was found so far.
struct Comparison {
    reference: Reference,
    keys: PathBuf,
    asked: usize,
    disagreements: Vec<String>,
}

#[test]
fn no_disagreement() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut comparison = Comparison::begin(folder.path());
    let cases = cases();
    for case in &cases {
        comparison.run(case);
    }
    let Comparison { asked, disagreements, .. } = &comparison;
    println!(
        "interop with model_signing {RELEASE}: {} combinations, {asked} verdicts, {} disagreements",
        cases.len(),
        disagreements.len()
    );
    assert!(disagreements.is_empty(), "\n{}", disagreements.join("\n"));
}

impl Comparison {
    fn begin(folder: &Path) -> Self {
        let mut reference = Reference::start();
        let keys = folder.join("keys");
        fs::create_dir(&keys).expect("a folder");
        assert_eq!(reference.ask(json!({ "do": "version" })).expect("a version")["version"], RELEASE);
        for what in ["keys", "pki"] {
            reference.ask(json!({ "do": what, "folder": keys })).expect(what);
        }
        Comparison { reference, keys, asked: 0, disagreements: Vec::new() }
    }

    /// Both sign the same tree; both verify both bundles, as it is and after each change.
    fn run(&mut self, case: &Case) {
        let mut statements = Vec::new();
        for author in SIDES {
            let folder = tempfile::tempdir().expect("a folder");
            let tree = case.tree.build(folder.path());
            let bundle = match case.place {
                Place::Elsewhere => folder.path().join("elsewhere.sig"),
                Place::Default if tree.single => tree.model.with_file_name("weights.bin.sig"),
                Place::Default => tree.model.join("model.sig"),
            };
            let refuses = tree.links == Links::Forbidden || (author == Side::Ours && stricter::not_signed(case));
            let signed = self.sign(author, case, &tree, &bundle);
            self.expect(!refuses, &signed, &format!("{author:?} signs"), case);
            if signed.is_err() {
                continue;
            }
            statements.push(statement(&bundle));
            self.verify_all(author, case, &tree, &bundle);
        }
        if let [reference, ours] = &statements[..]
            && reference != ours
        {
            self.disagreements.push(format!("{case}: other statements:\n{reference}\n{ours}"));
        }
    }

    fn verify_all(&mut self, author: Side, case: &Case, tree: &Built, bundle: &Path) {
        for verifier in SIDES {
            let refused = match verifier {
                Side::Ours => stricter::not_verified(case),
                Side::Reference => stricter::not_readable_by_the_reference(case),
            };
            let said = self.verify(verifier, case, tree, bundle);
            self.expect(!refused, &said, &format!("{verifier:?} verifies what {author:?} signed"), case);
        }
        for change in Change::of(tree) {
            let undo = change.make(tree);
            for verifier in SIDES {
                let said = self.verify(verifier, case, tree, bundle);
                let what = format!("{verifier:?} verifies what {author:?} signed, after {change:?}");
                self.expect(false, &said, &what, case);
            }
            undo.undo();
        }
        if tree.links == Links::Allowed {
            let tree = Built { links: Links::Forbidden, ..tree.clone() };
            for verifier in SIDES {
                let said = self.verify(verifier, case, &tree, bundle);
                self.expect(false, &said, &format!("{verifier:?} verifies links unasked"), case);
            }
        }
    }

    fn expect(&mut self, accepted: bool, said: &Result<(), String>, what: &str, case: &Case) {
        self.asked += 1;
        if accepted != said.is_ok() {
            let wanted = if accepted { "accepted" } else { "refused" };
            self.disagreements.push(format!("{case}: {what}: expected {wanted}: {said:?}"));
        }
    }

    fn sign(&mut self, side: Side, case: &Case, tree: &Built, bundle: &Path) -> Result<(), String> {
        match side {
            Side::Ours => ours::sign(&self.keys, case, tree, bundle),
            Side::Reference => self.reference.sign(&self.keys, case, tree, bundle),
        }
    }

    fn verify(&mut self, side: Side, case: &Case, tree: &Built, bundle: &Path) -> Result<(), String> {
        match side {
            Side::Ours => ours::verify(&self.keys, case, tree, bundle),
            Side::Reference => self.reference.verify(&self.keys, case, tree, bundle),
        }
    }
}

/// The statement in a bundle, without what may differ: the order of what was ignored (the reference's is random), and
/// whether a size is written as a whole number.
fn statement(bundle: &Path) -> Value {
    let mut statement = payload(bundle);
    let serialization = &mut statement["predicate"]["serialization"];
    if let Some(size) = serialization["shard_size"].as_f64() {
        serialization["shard_size"] = json!(size);
    }
    let mut ignored: Vec<String> = serde_json::from_value(serialization["ignore_paths"].take()).unwrap_or_default();
    ignored.sort();
    serialization["ignore_paths"] = json!(ignored);
    statement
}

fn payload(bundle: &Path) -> Value {
    let bundle: Value = serde_json::from_slice(&fs::read(bundle).expect("a bundle")).expect("JSON");
    let payload = bundle["dsseEnvelope"]["payload"].as_str().expect("a payload");
    serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON")
}
