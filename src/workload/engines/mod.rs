//! Models that a container fetches or opens by itself: what its image, command, arguments and variables say of them.
//!
//! Receives one container. A container is looked at as an engine where its image or its command matches a row of the
//! [table](rows), in any script of a shell as well, or where a flag or variable stands in it that no other kind of
//! program has. Of a program that nobody knows, a value counts if it stands behind a flag such as `--model` and looks like
//! a path, a URI or `owner/name`; and a token for a model hub says that something is fetched. Everything else is no
//! business of this module: a web server is none, whatever it downloads.
//!
//! Promises that of an engine nothing is taken for read that is not: what a variable from elsewhere, a script, an
//! abbreviation or a file of configuration could hide is declared as unresolved, never as nothing. A configuration file is
//! unresolved wherever it lies: one that somebody signed may still name a model that nobody did. Never runs, fetches or
//! opens anything, and never says whether something is fine: where a path leads is for [`super::named`], what follows from
//! it for the policies.
//!
//! ```text
//! command, args ──expand──▶ words ──shell──▶ commands ──row of the table──▶ Named, Hazard
//! ```

mod command;
mod rows;
mod shell;
mod table;
mod value;
mod words;

pub(super) use value::Target;
pub(super) use words::{Environment, PodFields};

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use command::{Found, Surroundings};
use rows::{ENGINES, HARMLESS, HUB_TOKENS, MODEL_SCHEMES};
use shell::Command;
use table::{Engine, Flag, normal};
use value::unresolved;
use words::{Lookup, Word};

use super::mounts::AnyContainer;
use super::{FieldPath, Hazard, Role, Unresolved};
use crate::api::v1alpha1::UnknownCode;
use crate::model::shown;

/// How many words of command and arguments are looked at; an engine takes some dozens.
const MAX_ARGUMENTS: usize = 1024;
/// How long a word may be: a script that is longer is a file of its own.
const MAX_WORD_BYTES: usize = 64 * 1024;
/// How many models one container may name; one that serves so many adapters names them in a folder.
pub(super) const MAX_NAMED: usize = 128;
/// How deep a shell in a shell is followed; deeper ones are not understood.
const MAX_SHELLS: usize = 4;

/// The shells whose `-c` is read.
const SHELLS: &[&str] = &["sh", "bash", "ash", "dash", "zsh", "ksh", "busybox"];

/// Words in the names of images that stand beside an engine and are none.
const NO_SERVERS: &[&str] = &[
    "router",
    "proxy",
    "gateway",
    "operator",
    "exporter",
    "controller",
    "webhook",
    "webui",
    "ui",
    "scheduler",
    "epp",
    "dashboard",
    "client",
    "benchmark",
];

/// What a container declares.
#[derive(Debug, std::default::Default)]
pub(super) struct Declared {
    pub(super) named: Vec<Named>,
    pub(super) hazards: Vec<Hazard>,
}

/// Something that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Where.
    pub(super) at: FieldPath,
    /// What for.
    pub(super) role: Role,
    /// What.
    pub(super) target: Target,
}

impl Declared {
    fn name(&mut self, named: Named) {
        let known = |other: &Named| other.role == named.role && other.target == named.target;
        if self.named.len() <= MAX_NAMED && !self.named.iter().any(known) {
            self.named.push(named);
        }
    }
}

/// What a container declares by image, command, arguments, variables, hooks and probes.
pub(super) fn declared(container: &AnyContainer<'_>, environment: &Environment) -> Declared {
    let mut declared = Declared::default();
    let hooks: Vec<(FieldPath, &[String])> = container.hooks();
    let all = [container.command, container.args];
    let lists = all.into_iter().chain(hooks.iter().map(|(_, command)| *command));
    if lists.clone().map(<[String]>::len).sum::<usize>() > MAX_ARGUMENTS
        || lists.flatten().any(|word| word.len() > MAX_WORD_BYTES)
    {
        declared.name(too_large(container.at.field("args"), "there are more arguments than can be looked at"));
        return declared;
    }
    let mut search = Search {
        container,
        environment,
        declared,
        said: Said::default(),
        uris: Vec::new(),
        engines: Vec::new(),
        handed: None,
    };
    search.container();
    for (at, command) in hooks {
        let words = expanded(command, environment, &at, "command");
        search.commands(words, None, true);
    }
    search.hub_tokens();
    search.model_schemes();
    search.overheard();
    declared = search.declared;
    if declared.named.len() > MAX_NAMED {
        declared.named.truncate(MAX_NAMED);
        declared.named.push(too_large(container.at.field("args"), "there are more models than can be looked at"));
    }
    declared
}

pub(super) fn too_large(at: FieldPath, what: &str) -> Named {
    let remedy = "put the models into one folder of a claim, and name that";
    let target = Target::Unresolved(Unresolved { code: UnknownCode::TooLarge, what: what.to_owned(), remedy });
    Named { at, role: Role::Weights, target }
}

/// The words of a list of a container, expanded.
fn expanded(list: &[String], environment: &Environment, at: &FieldPath, field: &str) -> Vec<Word> {
    list.iter().enumerate().map(|(index, text)| environment.expand(text, &at.item(field, index))).collect()
}

/// The words of a container in which something could hide, to compare what was read with what stands there.
#[derive(Debug, std::default::Default)]
struct Said {
    /// As they stand in the object.
    written: Vec<Word>,
    /// As they were read, comments too.
    read: Vec<String>,
}

struct Search<'a> {
    container: &'a AnyContainer<'a>,
    environment: &'a Environment,
    declared: Declared,
    said: Said,
    /// URIs that are of models alone, in its words.
    uris: Vec<(String, FieldPath)>,
    /// The engines that were found.
    engines: Vec<&'static Engine>,
    /// The engine of an image that is given the words of a shell and no command: its entry point may take them for its own.
    handed: Option<&'static Engine>,
}

impl Search<'_> {
    fn container(&mut self) {
        let at = &self.container.at;
        let mut words = expanded(self.container.command, self.environment, at, "command");
        words.extend(expanded(self.container.args, self.environment, at, "args"));
        let own_command = !self.container.command.is_empty();
        let image = by_image(self.container.image);
        if words.is_empty() {
            let nothing = Command { words, variables: Rc::default() };
            match image {
                Some(engine) => self.invoke(engine, Found::Entrypoint, &[], &nothing),
                None => self.invoke(command::nobody(), Found::Nowhere, &[], &nothing),
            }
            return;
        }
        self.commands(words, image, own_command);
    }

    /// Reads a command line. `image` is the engine whose image runs it; without a command of its own, its entry point gets
    /// the words.
    fn commands(&mut self, words: Vec<Word>, image: Option<&'static Engine>, own_command: bool) {
        self.uris.extend(model_uris(words.iter().map(|word| (word.text.as_str(), &word.at))));
        // Words that no shell reads and that are in one piece are read as they stand.
        let between = |c: char| c.is_whitespace() || is_punctuation(c);
        let may_hide = |word: &Word| word.text.starts_with('_') || word.text.contains(between);
        let hides = script(&words).is_some() || words.iter().any(may_hide);
        if hides {
            self.said.written.extend(words.iter().cloned());
        }
        let whole = Command { words, variables: Rc::default() };
        let mut leaves = Vec::new();
        let scripted = self.unwrap(whole, 0, image, &mut leaves);
        self.handed = self.handed.or(image.filter(|_| scripted && !own_command));
        for command in leaves {
            if hides {
                self.said.read.extend(command.words.iter().map(|word| word.text.clone()));
            }
            self.command(&command, image, own_command || scripted);
        }
    }

    /// The commands in the script of a shell, or the command itself; whether there was a script.
    fn unwrap(
        &mut self,
        command: Command,
        depth: usize,
        image: Option<&'static Engine>,
        leaves: &mut Vec<Command>,
    ) -> bool {
        let Some(script) = script(&command.words) else {
            leaves.push(command);
            return false;
        };
        let word = &command.words[script];
        if !word.known || depth >= MAX_SHELLS {
            if let Some(engine) = image {
                let what = format!("what this script has {} do cannot be told from the Pod", engine.name);
                self.unresolved(what, word.at.clone());
            }
            leaves.push(command);
            return true;
        }
        let parameters = &command.words[script + 1..];
        let read = shell::read(&word.text, &word.at, self.environment, Rc::clone(&command.variables), parameters);
        let is_engine = |command: &Command| by_command(&command.words).is_some();
        if !read.understood && (image.is_some() || read.commands.iter().any(is_engine)) {
            self.unresolved("this script cannot be read in full".to_owned(), word.at.clone());
        }
        self.said.read.extend(read.comments.iter().flat_map(|it| it.split_whitespace()).map(str::to_owned));
        for command in read.commands {
            self.unwrap(command, depth + 1, image, leaves);
        }
        true
    }

    fn command(&mut self, command: &Command, image: Option<&'static Engine>, own_command: bool) {
        let words = &command.words;
        let Some(first) = words.first() else { return };
        if own_command && first.known && HARMLESS.contains(&base_name(&first.text)) {
            return;
        }
        match (by_command(words), image) {
            (Some((engine, index)), _) => self.invoke(engine, Found::Command, &words[index + 1..], command),
            (None, Some(engine)) if own_command => self.invoke(engine, Found::Program, &words[1..], command),
            (None, Some(engine)) => self.invoke(engine, Found::Entrypoint, words, command),
            (None, None) => self.invoke(command::nobody(), Found::Nowhere, words, command),
        }
    }

    fn invoke(&mut self, engine: &'static Engine, found: Found, words: &[Word], command: &Command) {
        if found != Found::Nowhere {
            self.engines.push(engine);
        }
        let surroundings = Surroundings { environment: self.environment, at: &self.container.at };
        command::read(engine, found, words, command, surroundings, &mut self.declared);
    }

    fn unresolved(&mut self, what: String, at: FieldPath) {
        self.declared.name(Named { at, role: Role::Weights, target: unresolved(what) });
    }

    /// A container with a token for a hub, of which nothing else says what it fetches.
    fn hub_tokens(&mut self) {
        if !self.engines.is_empty() || !self.declared.named.is_empty() {
            return;
        }
        let token = HUB_TOKENS.iter().find_map(|name| match self.environment.get(name) {
            Lookup::Literal(value, at) if !value.is_empty() => Some((name, at.clone())),
            Lookup::Elsewhere(at) => Some((name, at.clone())),
            Lookup::Literal(..) | Lookup::Absent(_) => None,
        });
        if let Some((name, at)) = token {
            let what = format!("{name} gives it access to a model hub, and nothing says which model it fetches");
            self.unresolved(what, at);
        }
    }

    /// URIs that are of models alone, wherever they stand.
    fn model_schemes(&mut self) {
        let mut found = std::mem::take(&mut self.uris);
        found.extend(model_uris(self.environment.literals()));
        for (text, at) in found {
            let hub = value::Hub { scheme: "hf", revision: None };
            for target in value::targets(table::Form::Hub, &Word::literal(text, &at), &hub) {
                self.declared.name(Named { at: at.clone(), role: Role::Weights, target });
            }
        }
    }

    /// Compares what was read with what a reader who splits at blanks sees: a flag that stands somewhere and was not read
    /// hides something.
    fn overheard(&mut self) {
        let mut read: BTreeMap<Cow<'_, str>, usize> = BTreeMap::new();
        for word in self.said.read.iter().filter(|word| word.starts_with('-')) {
            *read.entry(flag_name(word)).or_default() += 1;
        }
        let mut hidden = Vec::new();
        for word in &self.said.written {
            for piece in word.text.split_whitespace() {
                let name = flag_name(piece.trim_matches(is_punctuation));
                if !self.matters(&name) {
                    continue;
                }
                match read.get_mut(&name).filter(|count| **count > 0) {
                    Some(count) => *count -= 1,
                    None if hidden.len() > MAX_NAMED => {}
                    None => hidden.push((name.into_owned(), word.at.clone())),
                }
            }
        }
        for (name, at) in hidden {
            self.unresolved(format!("{} stands where it cannot be read for certain", shown(&name)), at);
        }
    }

    /// Whether a flag could name a model of an engine that was found, or tells one by itself.
    fn matters(&self, name: &str) -> bool {
        let of = |engine: &Engine| engine.counting().any(|flag| flag.is_called(name));
        name.starts_with('-')
            && (self.engines.iter().chain(&self.handed).any(|engine| of(engine))
                || TELLING.iter().any(|flag| flag.is_called(name)))
    }
}

/// The flags that count of any program, because each tells that it serves a model.
static TELLING: LazyLock<Vec<&'static Flag>> = LazyLock::new(|| {
    let counting = ENGINES.iter().flat_map(|engine| engine.counting());
    counting.filter(|flag| flag.tells).collect()
});

/// Whether a character may stand around a flag in a script or in JSON.
fn is_punctuation(c: char) -> bool {
    matches!(c, '\'' | '"' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | ';' | '&' | '|' | ',' | '\\')
}

/// Of texts and where they stand, the URIs that are of models alone.
fn model_uris<'a>(texts: impl Iterator<Item = (&'a str, &'a FieldPath)>) -> impl Iterator<Item = (String, FieldPath)> {
    let named = |text: &str| MODEL_SCHEMES.contains(&text.split("://").next().unwrap_or_default());
    texts
        .map(|(text, at)| (text.rsplit_once('=').map_or(text, |(_, value)| value), at))
        .filter(move |(text, _)| text.contains("://") && named(text))
        .map(|(text, at)| (text.to_owned(), at.clone()))
}

/// The name of a flag, with hyphens and without its value.
fn flag_name(word: &str) -> Cow<'_, str> {
    normal(word.split('=').next().unwrap_or_default())
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The engine that a command line runs, and the word that says so: not one that is the value of a flag.
fn by_command(words: &[Word]) -> Option<(&'static Engine, usize)> {
    let plain = |index: usize| match index.checked_sub(1).map(|before| words[before].text.as_str()) {
        None | Some("-m" | "--" | "-c") => true,
        Some(before) => !before.starts_with('-'),
    };
    let installs = words.iter().take(2).any(|word| matches!(base_name(&word.text), "pip" | "pip3" | "install"));
    let places = words.iter().enumerate().filter(|(index, word)| !installs && word.known && plain(*index));
    places.into_iter().find_map(|(index, word)| {
        let name = base_name(&word.text);
        let is_of = |engine: &&Engine| engine.commands.contains(&name);
        ENGINES.iter().find(is_of).map(|engine| (engine, index))
    })
}

/// The engine that an image is known for.
fn by_image(reference: &str) -> Option<&'static Engine> {
    let named = reference.split('@').next().unwrap_or_default();
    let tag = named.rfind(':').filter(|at| !named[*at..].contains('/'));
    let repository = named[..tag.unwrap_or(named.len())].to_ascii_lowercase();
    let (folders, last) = repository.rsplit_once('/').unwrap_or(("", &repository));
    let words: Vec<&str> = last.split(['-', '_', '.']).collect();
    if words.iter().any(|word| NO_SERVERS.contains(word)) {
        return None;
    }
    let is_known = |pattern: &&str| match pattern.strip_suffix('/') {
        Some(folder) => folders.split('/').any(|part| part == folder),
        None => has_part(last, pattern),
    };
    ENGINES.iter().find(|engine| engine.images.iter().any(is_known))
}

/// Whether a part stands in a name between what is neither letter nor digit.
fn has_part(name: &str, part: &str) -> bool {
    let bounded = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    let mut places = name.match_indices(part);
    places.any(|(at, _)| bounded(name[..at].chars().next_back()) && bounded(name[at + part.len()..].chars().next()))
}

/// Which word is the script of a shell, if a shell is run with one.
fn script(words: &[Word]) -> Option<usize> {
    let shell = words.iter().position(|word| word.known && SHELLS.contains(&base_name(&word.text)))?;
    let mut at = shell + 1;
    while let Some(word) = words.get(at) {
        let option = word.text.as_str();
        let letters = option.strip_prefix(['-', '+']).filter(|letters| !letters.starts_with('-'));
        match letters {
            Some(letters) => {
                // The name of an option follows an `o`; the script follows what stands behind the cluster.
                at += 1 + letters.matches(['o', 'O']).count();
                if letters.contains('c') {
                    return (at < words.len()).then_some(at);
                }
            }
            // A long option; `busybox sh`.
            None if option.starts_with("--") || SHELLS.contains(&option) => at += 1,
            None => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
