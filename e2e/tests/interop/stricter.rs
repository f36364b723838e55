//! Where we and the reference differ on purpose: the README's list, each line with the test that holds it.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use weighbridge::cli::Exit;

use crate::ours;
use crate::table::{Case, Method, Place, Signer};
use crate::trees::{Built, COLONS, EMPTY_FILES, Links};
use crate::{Comparison, Side, payload};

/// A difference: the first column of the README's table, and what shows it.
type Exception = (&'static str, fn(&mut Scene));

const EXCEPTIONS: &[Exception] = &[
    ("a name with a backslash", |scene| {
        scene.write(&["a", "b\\c"]);
        scene.reference_alone_signs_and_verifies("[MalformedBundle]");
    }),
    ("names that differ only in case", |scene| {
        scene.write(&["config.json", "Config.json"]);
        scene.reference_alone_signs_and_verifies("[MalformedBundle]");
    }),
    ("a model without files", |scene| scene.reference_alone_signs_and_verifies("[MalformedBundle]")),
    ("a symbolic link that leads out of the model", |scene| {
        fs::write(scene.folder.path().join("outside"), "x").expect("a file");
        symlink("../outside", scene.tree.model.join("link")).expect("a link");
        scene.tree.links = Links::Allowed;
        scene.reference_alone_signs_and_verifies("[SymlinkNotAllowed]");
    }),
    ("an empty file under shards", |scene| {
        scene.write(&["a"]);
        fs::write(scene.tree.model.join("empty"), "").expect("a file");
        scene.case.method = Method::Shards(1000);
        scene.reference_alone_signs_and_verifies("[UnsignedFiles]");
    }),
    ("an empty file that was added, under shards", |scene| {
        scene.write(&["a"]);
        scene.case.method = Method::Shards(1000);
        scene.both_sign_and_verify();
        fs::write(scene.tree.model.join("empty"), "").expect("a file");
        scene.reference_alone_verifies("[UnsignedFiles]");
    }),
    ("shards of BLAKE3", |scene| {
        scene.write(&["a"]);
        let (model, key) = (scene.tree.model.clone(), scene.comparison.keys.join("p256.pem"));
        let words = ["weighbridge", "sign", "--hash", "blake3", "--shard-size", "1000", "--key"].map(Into::into);
        let (exit, said) = ours::call(words.into_iter().chain([key.into(), model.into()]).collect());
        assert!(exit == Exit::Usage && said.contains("--shard-size"), "{said}");
    }),
    ("a certificate that is not made for signing code", |scene| {
        scene.write(&["a"]);
        scene.case.signer = Signer::Certificate { leaf: "lax", profile: "reference" };
        scene.both_sign_and_verify();
        scene.case.signer = Signer::Certificate { leaf: "lax", profile: "strict" };
        scene.reference_alone_verifies("");
    }),
    ("two signatures in one bundle", |scene| {
        scene.write(&["a"]);
        scene.sign_altered(2, |_| ());
        scene.reference_alone_verifies("[MalformedBundle]");
    }),
    ("a file that is listed twice", |scene| {
        scene.write(&["a", "b"]);
        scene.sign_altered(1, |resources| {
            let first = resources[0].clone();
            resources.insert(0, first);
        });
        scene.reference_alone_verifies("[MalformedBundle]");
    }),
    ("files that are listed in no order", |scene| {
        scene.write(&["a", "b"]);
        scene.sign_altered(1, |resources| resources.reverse());
        scene.reference_alone_verifies("[MalformedBundle]");
    }),
    ("`:` in names, under shards", |scene| {
        scene.write(&["a:b"]);
        scene.case.method = Method::Shards(1000);
        assert_eq!(scene.sign(Side::Ours), Ok(()));
        assert_eq!(scene.verify(Side::Ours), Ok(()));
        let said = scene.verify(Side::Reference).expect_err("the reference cannot read it");
        assert!(said.contains("3 components"), "{said}");
    }),
];

/// What we do not sign, of the table.
pub(crate) fn not_signed(case: &Case) -> bool {
    case.tree.name == EMPTY_FILES && case.method != Method::Files
}

/// What we do not verify, of the table.
pub(crate) fn not_verified(case: &Case) -> bool {
    not_signed(case)
}

/// What the reference signs and cannot read itself: it takes names of shards apart at every colon.
pub(crate) fn not_readable_by_the_reference(case: &Case) -> bool {
    case.tree.name == COLONS && case.method != Method::Files
}

#[test]
fn each_difference_is_as_the_readme_says() {
    let keys = tempfile::tempdir().expect("a folder");
    let mut comparison = Comparison::begin(keys.path());
    for (what, show) in EXCEPTIONS {
        println!("{what}");
        show(&mut Scene::new(&mut comparison));
    }
}

#[test]
fn the_readme_lists_exactly_these() {
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("\n### Where it differs from the reference\n").expect("the section");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let rows: Vec<&str> = rows.skip(1).collect();
    let listed: Vec<&str> = EXCEPTIONS.iter().map(|(what, _)| *what).collect();
    assert_eq!(rows, listed);
}

/// An empty model, and how it is to be signed.
struct Scene<'a> {
    comparison: &'a mut Comparison,
    folder: tempfile::TempDir,
    tree: Built,
    case: Case,
}

impl<'a> Scene<'a> {
    fn new(comparison: &'a mut Comparison) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let model = folder.path().join("model");
        fs::create_dir(&model).expect("a folder");
        let tree = Built { model, single: false, links: Links::None, ignore: &[], ignore_git: true };
        let case = Case::plain(Signer::Key("p256"), Place::Elsewhere);
        Scene { comparison, folder, tree, case }
    }

    fn write(&self, names: &[&str]) {
        names.iter().for_each(|name| fs::write(self.tree.model.join(name), name).expect("a file"));
    }

    fn sign(&mut self, side: Side) -> Result<(), String> {
        let bundle = self.folder.path().join("model.sig");
        let _ = fs::remove_file(&bundle);
        self.comparison.sign(side, &self.case, &self.tree, &bundle)
    }

    fn verify(&mut self, side: Side) -> Result<(), String> {
        self.comparison.verify(side, &self.case, &self.tree, &self.folder.path().join("model.sig"))
    }

    fn both_sign_and_verify(&mut self) {
        for author in [Side::Ours, Side::Reference] {
            assert_eq!(self.sign(author), Ok(()));
            assert_eq!((self.verify(Side::Reference), self.verify(Side::Ours)), (Ok(()), Ok(())));
        }
    }

    fn reference_alone_verifies(&mut self, code: &str) {
        assert_eq!(self.verify(Side::Reference), Ok(()));
        let said = self.verify(Side::Ours).expect_err("a refusal");
        assert!(said.starts_with("Refused: ") && said.trim_end().ends_with(code), "{said}");
    }

    fn reference_alone_signs_and_verifies(&mut self, code: &str) {
        let said = self.sign(Side::Ours).expect_err("a refusal");
        assert!(said.starts_with("Not signed: "), "{said}");
        assert_eq!(self.sign(Side::Reference), Ok(()));
        self.reference_alone_verifies(code);
    }

    /// Signs with the reference's key and code, but something else than it would write.
    fn sign_altered(&mut self, signatures: usize, alter: fn(&mut Vec<Value>)) {
        self.sign(Side::Reference).expect("a signature");
        let bundle = self.folder.path().join("model.sig");
        let mut statement = payload(&bundle);
        let resources = statement["predicate"]["resources"].as_array_mut().expect("resources");
        alter(resources);
        let digests: Vec<u8> = resources.iter().flat_map(|each| bytes(each["digest"].as_str().expect("hex"))).collect();
        statement["subject"][0]["digest"]["sha256"] = json!(weighbridge::model::Hasher::sha256(&digests).to_hex());
        let key = self.comparison.keys.join("p256.pem");
        let request = json!({
            "do": "sign_raw", "payload": statement.to_string(), "key": key, "signature": bundle, "signatures": signatures
        });
        self.comparison.reference.ask(request).expect("a signature");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
}
