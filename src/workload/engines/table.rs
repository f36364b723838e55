//! What a row of the table of engines can say.

use std::borrow::Cow;

use crate::api::v1alpha1::Forbidden;

/// A program that serves or fetches models, and how it is told which.
#[derive(Debug)]
pub(super) struct Engine {
    /// What people call it.
    pub(super) name: &'static str,
    /// By which its images are known: a whole part, between what is neither letter nor digit, of the last component of the
    /// reference; with a slash at its end, any component of that name.
    pub(super) images: &'static [&'static str],
    /// By which a command line is known: the base name of a program or script, or a module of Python.
    pub(super) commands: &'static [&'static str],
    /// Its flags that matter, and those whose values could be mistaken for a model.
    pub(super) flags: &'static [Flag],
    /// Its variables that matter.
    pub(super) variables: &'static [Variable],
    /// Its verbs; the first is the one that an image runs where its arguments name none.
    pub(super) verbs: &'static [Verb],
    /// What it serves where nothing names a model.
    pub(super) default: Default,
    /// Whether a flag may be cut to any beginning that is unique.
    pub(super) abbreviates: bool,
}

/// A flag, by all its names, with hyphens.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) names: &'static [&'static str],
    pub(super) means: Means,
    /// Whether it says by itself that a container is an engine, whatever its image and command are.
    pub(super) tells: bool,
}

/// A variable.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) means: Means,
    /// As for a [`Flag`].
    pub(super) tells: bool,
}

/// What a flag or variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The model that is served: without one the default is.
    Model(Form),
    /// Something else that it computes with: a tokenizer, an adapter, code.
    Weights(Form),
    /// A file of configuration, such as a chat template.
    Config,
    /// A file that can say all that flags can.
    Hides,
    /// The revision of the models that [`Means::Model`] names.
    Revision,
    /// The revision of what the flag of this name names.
    RevisionOf(&'static str),
    /// Another hub, by the scheme of its URIs, where it is true.
    Hub(&'static str),
    /// Something that a policy may forbid.
    Danger(Forbidden, When),
    /// A value that says nothing about models.
    Plain,
}

/// When something is dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// A switch, or a variable that is true.
    True,
    /// Whatever its value is.
    Set,
    /// Of these values alone.
    OneOf(&'static [&'static str]),
}

/// How a value names a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A path, a URI, or a repository of a hub.
    Hub,
    /// A path or a URI.
    Path,
    /// A repository of a hub, never a path.
    Repository,
    /// Something behind a scheme that the value does not repeat, such as `ollama`.
    Scheme(&'static str),
    /// Adapters: each a path, a URI, a repository or `name=` one of these, or JSON; as several words, or with commas.
    Adapters,
    /// JSON that names models under these keys.
    Json(&'static [&'static str]),
    /// A switch that fetches what only the program knows.
    Preset,
    /// As [`Form::Hub`], where the value has a slash: from a program that nobody knows, a single word says nothing.
    Guess,
}

/// A verb: the word behind the command.
#[derive(Debug)]
pub(super) struct Verb {
    /// The word; empty where the command needs none.
    pub(super) word: &'static str,
    pub(super) operands: Operands,
}

/// What the words without a flag are, behind a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    /// The verb fetches and serves nothing.
    Inert,
    /// Nothing.
    None,
    /// The first is a model.
    First(Form),
    /// All are models.
    All(Form),
    /// A model and where it is put, over and over.
    Pairs(Form),
}

/// What an engine serves where nothing names a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// A repository of the hub.
    Repository(&'static str),
    /// Whatever lies in the folder of this variable, or else in this one; and it fetches into it.
    Store(&'static str, &'static str),
    /// Nobody can tell.
    Unresolved,
    /// Nothing: it does not run without, or does not serve.
    Nothing,
}

impl Means {
    /// Whether a flag of it takes a value.
    pub(super) fn takes_value(self) -> bool {
        !matches!(self, Means::Danger(_, When::True) | Means::Hub(_) | Means::Model(Form::Preset))
    }

    /// Whether it names a model, or could hide the name of one.
    pub(super) fn names_models(self) -> bool {
        matches!(self, Means::Model(_) | Means::Weights(_) | Means::Hides)
    }
}

impl Engine {
    /// The flag of a name: as it is written, with hyphens for underscores, or cut where that is allowed.
    pub(super) fn flag(&self, name: &str) -> Option<&'static Flag> {
        let name = normal(name);
        let whole = self.flags.iter().find(|flag| flag.is_called(&name));
        let cut = || {
            let long = self.abbreviates && name.len() > MIN_ABBREVIATION && name.starts_with("--");
            let begins = |flag: &&Flag| flag.names.iter().any(|known| known.starts_with(&*name));
            self.flags.iter().filter(|_| long).find(begins)
        };
        whole.or_else(cut)
    }
}

impl Engine {
    /// The flags that name models or are dangerous.
    pub(super) fn counting(&self) -> impl Iterator<Item = &'static Flag> {
        let counts = |means: Means| means.names_models() || matches!(means, Means::Danger(..));
        self.flags.iter().filter(move |flag| counts(flag.means))
    }
}

impl Flag {
    /// Whether a name, with hyphens, is one of its own.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|known| is_named(known, name))
    }
}

/// The shortest beginning of a flag, two hyphens and a letter, is one of dozens of flags: parsers refuse it.
const MIN_ABBREVIATION: usize = 3;

/// A flag's name with hyphens: engines take either.
pub(super) fn normal(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// Whether a name is the one in the table; one there that begins with `*` is the end of a name.
fn is_named(known: &str, name: &str) -> bool {
    known.strip_prefix('*').map_or(known == name, |end| name.starts_with("--") && name.ends_with(end))
}
