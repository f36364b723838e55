//! The trees that are signed, and what is done to them afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Whether symbolic links are in it, and what the programs are told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    None,
    Allowed,
    Forbidden,
}

/// How a tree is made.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) name: &'static str,
    make: fn(&Path),
    single: bool,
    links: Links,
    ignore: &'static [&'static str],
    ignore_git: bool,
}

const PLAIN: Tree = Tree { name: "", make: |_| {}, single: false, links: Links::None, ignore: &[], ignore_git: true };

/// Each has a file `weights.bin` of 2,500 bytes, which the changes are made to.
pub(crate) const TREES: &[Tree] = &[
    Tree { name: "a single file", single: true, make: |_| {}, ..PLAIN },
    Tree { name: "one file in a folder", ..PLAIN },
    Tree { name: "nested", make: |m| write(m, &["a/b/c/d/e", "a/b/f", "a/g", "z/y/x"]), ..PLAIN },
    Tree { name: "2,000 small files", make: many, ..PLAIN },
    Tree { name: "names", make: |m| write(m, NAMES), ..PLAIN },
    Tree { name: COLONS, make: |m| write(m, &["a:b", "c/:", "1:2:3", "d:e/f"]), ..PLAIN },
    Tree { name: "two orders", make: |m| write(m, &["a/b", "a.b", "a-b/c", "a b", "a/b.c/d", "a/bc", "a0"]), ..PLAIN },
    Tree { name: EMPTY_FILES, make: |m| empty(m, &["empty", "a/.keep", "z"]), ..PLAIN },
    Tree {
        name: "an empty folder",
        make: |m| fs::create_dir_all(m.join("nothing/in/here")).expect("folders"),
        ..PLAIN
    },
    Tree {
        name: "ignored paths and Git's files",
        make: |m| {
            write(m, &["tmp/a", "tmp/b/c", "logs", "logs2", ".git/config", ".gitignore", ".github/x", "sub/.gitignore"])
        },
        ignore: &["tmp", "logs"],
        ..PLAIN
    },
    Tree {
        name: "Git's files signed",
        make: |m| write(m, &[".git/config", ".gitattributes"]),
        ignore_git: false,
        ..PLAIN
    },
    Tree { name: "links allowed", make: links, links: Links::Allowed, ..PLAIN },
    Tree { name: "links not allowed", make: links, links: Links::Forbidden, ..PLAIN },
];

/// Trees that the exceptions name.
pub(crate) const COLONS: &str = "colons";
pub(crate) const EMPTY_FILES: &str = "empty files";

const NAMES: &[&str] = &[
    "with space",
    " leading and trailing ",
    "quotes \"'`",
    "été/模型/модель",
    "e\u{301}te\u{301}",
    "🤗.bin",
    ".hidden",
    "...",
    ".a/.b",
    "-dash",
    "--key",
    "percent%20",
    "star*?[x]",
    "dollar$HOME",
    "tab\tand\nnewline",
    "~",
    "#",
    "{}",
    "model.sig.bak",
];

fn write(model: &Path, names: &[&str]) {
    for name in names {
        let path = model.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, format!("the content of {name}")).expect("a file");
    }
}

fn empty(model: &Path, names: &[&str]) {
    write(model, names);
    names.iter().for_each(|name| fs::write(model.join(name), "").expect("a file"));
}

fn many(model: &Path) {
    for at in 0..2000 {
        let folder = model.join(format!("part-{}", at % 7));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{at}.txt")), format!("file {at}")).expect("a file");
    }
}

/// To a file beside, above and below, by way of another, and to a folder, which nobody descends into.
fn links(model: &Path) {
    write(model, &["folder/file"]);
    for (at, target) in [("one", "weights.bin"), ("two", "one"), ("folder/three", "../weights.bin"), ("four", "folder")]
    {
        symlink(target, model.join(at)).expect("a link");
    }
}

/// A tree on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The folder or file to be signed.
    pub(crate) model: PathBuf,
    pub(crate) single: bool,
    pub(crate) links: Links,
    pub(crate) ignore: &'static [&'static str],
    pub(crate) ignore_git: bool,
}

impl Tree {
    pub(crate) fn build(&self, folder: &Path) -> Built {
        let &Tree { name: _, make, single, links, ignore, ignore_git } = self;
        let model = folder.join("model");
        fs::create_dir(&model).expect("a folder");
        let content: Vec<u8> = (0..2500u32).map(|at| (at * at % 251) as u8).collect();
        fs::write(model.join("weights.bin"), content).expect("a file");
        make(&model);
        let model = if single { model.join("weights.bin") } else { model };
        Built { model, single, links, ignore, ignore_git }
    }
}

impl Built {
    fn weights(&self) -> PathBuf {
        if self.single { self.model.clone() } else { self.model.join("weights.bin") }
    }
}

/// What is done to a tree after it was signed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Content,
    Longer,
    Shorter,
    Missing,
    Name,
    Extra,
}

/// What brings a tree back to what was signed.
pub(crate) struct Undo {
    weights: PathBuf,
    content: Vec<u8>,
    remove: Option<PathBuf>,
}

impl Change {
    /// What can be done to it. Beside a single file anything may lie, and under another name it is another model.
    pub(crate) fn of(tree: &Built) -> &'static [Change] {
        const ALL: [Change; 6] =
            [Change::Content, Change::Longer, Change::Shorter, Change::Missing, Change::Name, Change::Extra];
        if tree.single { &ALL[..4] } else { &ALL }
    }

    pub(crate) fn make(self, tree: &Built) -> Undo {
        let weights = tree.weights();
        let content = fs::read(&weights).expect("the file");
        let mut changed = content.clone();
        let mut remove = None;
        let other = weights.with_file_name("other.bin");
        match self {
            Change::Content => changed[1200] ^= 1,
            Change::Longer => changed.push(0),
            Change::Shorter => drop(changed.pop()),
            Change::Missing => fs::remove_file(&weights).expect("the file"),
            Change::Name => fs::rename(&weights, &other).expect("the file"),
            Change::Extra => fs::write(&other, "extra").expect("a file"),
        }
        if matches!(self, Change::Content | Change::Longer | Change::Shorter) {
            fs::write(&weights, changed).expect("the file");
        } else {
            remove = Some(other);
        }
        Undo { weights, content, remove }
    }
}

impl Undo {
    pub(crate) fn undo(self) {
        // There only after some of the changes.
        let _ = self.remove.map(fs::remove_file);
        fs::write(self.weights, self.content).expect("the file");
    }
}
