//! One command of an engine: its flags, its words and the variables that it reads, against its row of the table.

use std::rc::Rc;

use super::rows::{ANY_PROGRAM, ENGINES};
use super::shell::{Command, Variables};
use super::table::{Default, Engine, Flag, Form, Means, Operands, Verb, When};
use super::value::{Hub, Target, targets, unresolved};
use super::words::{Environment, Lookup, Word};
use super::{Declared, Named};
use crate::api::v1alpha1::Forbidden;
use crate::model::shown;
use crate::workload::{FieldPath, Hazard, Role};

/// The hub that repositories are of where nothing says otherwise.
const HUGGING_FACE: &str = "hf";

/// How an engine was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// By the command itself.
    Command,
    /// By the image, whose own entry point gets the words.
    Entrypoint,
    /// By the image, of which some other program is run.
    Program,
    /// Not at all: only what is telling counts.
    Nowhere,
}

/// What surrounds a command.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) environment: &'a Environment,
    /// Where the container stands in the object.
    pub(super) at: &'a FieldPath,
}

/// Reads the words behind a command of an engine, and adds what they declare.
pub(super) fn read(
    engine: &'static Engine,
    found: Found,
    words: &[Word],
    command: &Command,
    surroundings: Surroundings<'_>,
    declared: &mut Declared,
) {
    let mut reading = Reading {
        engine,
        found,
        surroundings,
        variables: Rc::clone(&command.variables),
        values: Vec::new(),
        operands: Vec::new(),
        hidden: Vec::new(),
        declared,
    };
    let (verb, words) = reading.verb(words);
    if verb.operands == Operands::Inert {
        return;
    }
    reading.words(words);
    reading.variables();
    reading.conclude(verb);
}

struct Reading<'a> {
    engine: &'static Engine,
    found: Found,
    surroundings: Surroundings<'a>,
    variables: Rc<Variables>,
    /// What flags and variables say, with the name of each.
    values: Vec<(&'static str, Means, Word)>,
    /// Words without a flag, and whether they are certainly not the value of one.
    operands: Vec<(Word, bool)>,
    /// What could say more than can be read.
    hidden: Vec<(String, FieldPath)>,
    declared: &'a mut Declared,
}

impl Reading<'_> {
    fn verb<'w>(&self, words: &'w [Word]) -> (&'static Verb, &'w [Word]) {
        let named = |word: &&Word| word.known && !word.text.starts_with('-');
        let first = words.first().filter(named).map_or("", |word| word.text.as_str());
        let verbs = self.engine.verbs;
        match verbs.iter().find(|verb| !verb.word.is_empty() && verb.word == first) {
            Some(verb) => (verb, &words[1..]),
            None => (&verbs[0], words),
        }
    }

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        let telling = || {
            let flags = ENGINES.iter().flat_map(|engine| engine.flag(name));
            flags.into_iter().find(|flag| flag.tells)
        };
        self.engine.flag(name).or_else(|| (self.found == Found::Nowhere).then(telling).flatten())
    }

    fn words(&mut self, words: &[Word]) {
        let mut rest = words.iter().peekable();
        // Whether the word before was a flag that could take this one as its value.
        let mut open = false;
        while let Some(word) = rest.next() {
            let may_be_value = std::mem::take(&mut open);
            if word.text == "--" {
                self.operands.extend(rest.map(|word| (word.clone(), true)));
                return;
            }
            let is_flag = word.text.len() > 1 && word.text.starts_with('-') && !is_number(&word.text);
            if !is_flag {
                self.plain(word, may_be_value);
                continue;
            }
            let (name, inline) = match word.text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.text.as_str(), None),
            };
            if !word.known && name.contains('$') {
                self.hide(word);
                continue;
            }
            let Some(flag) = self.flag(name) else {
                open = inline.is_none();
                continue;
            };
            let inline = inline.map(|value| Word { text: value.to_owned(), ..word.clone() });
            if inline.is_some() || !flag.means.takes_value() {
                let value = inline.unwrap_or_else(|| Word::literal("", &word.at));
                self.values.push((flag.names[0], flag.means, Word { text: switch(flag, value.text, name), ..value }));
                continue;
            }
            let many = matches!(flag.means, Means::Weights(Form::Adapters));
            while let Some(value) = rest.next_if(|next| !next.text.starts_with("--")) {
                self.values.push((flag.names[0], flag.means, value.clone()));
                if !many {
                    break;
                }
            }
        }
    }

    /// A word that is no flag.
    fn plain(&mut self, word: &Word, may_be_value: bool) {
        if is_dynamic(word) && word.splits {
            self.hide(word);
        } else {
            self.operands.push((word.clone(), !may_be_value));
        }
    }

    fn hide(&mut self, word: &Word) {
        self.hidden.push((format!("\"{}\" may name models", shown(&word.text)), word.at.clone()));
    }

    /// What the variables of the engine say.
    fn variables(&mut self) {
        let (surroundings, unknown_program) = (self.surroundings, self.found == Found::Nowhere);
        let telling = ENGINES.iter().flat_map(|engine| engine.variables).filter(|variable| variable.tells);
        let more = telling.filter(|_| unknown_program);
        for variable in self.engine.variables.iter().chain(more) {
            let (means, name) = (variable.means, variable.name);
            let set_here = self.variables.get(name).map(|value| value.as_deref());
            let (value, at) = match (set_here, surroundings.environment.get(name)) {
                (Some(value), _) => (value, surroundings.at),
                (None, Lookup::Literal(value, at)) => (Some(value), at),
                (None, Lookup::Elsewhere(at)) => (None, at),
                (None, Lookup::Absent(Some(at))) if !unknown_program => {
                    let at = at.clone();
                    match means {
                        Means::Danger(kind, _) => self.danger(kind, &at, name.to_owned(), false),
                        means if means.names_models() => self.hidden_in_env_from(at),
                        _ => {}
                    }
                    continue;
                }
                (None, Lookup::Absent(_)) => continue,
            };
            // An empty variable is as good as none.
            if value == Some("") {
                continue;
            }
            let unknown = || Word { known: false, ..Word::literal(format!("$({name})"), at) };
            let word = value.map_or_else(unknown, |value| Word::literal(value, at));
            self.values.push((name, means, word));
        }
    }

    fn hidden_in_env_from(&mut self, at: FieldPath) {
        if !self.hidden.iter().any(|(_, hidden)| *hidden == at) {
            let what = format!("{at} may name models, because {} takes them from variables", self.engine.name);
            self.hidden.push((what, at));
        }
    }

    /// Turns what was read into what is declared.
    fn conclude(mut self, verb: &'static Verb) {
        let values = std::mem::take(&mut self.values);
        let truth = |word: &Word| !word.known || is_true(&word.text);
        let scheme = values.iter().find_map(|(_, means, word)| match means {
            Means::Hub(scheme) if truth(word) => Some(*scheme),
            _ => None,
        });
        let scheme = scheme.unwrap_or(HUGGING_FACE);
        let revision = |wanted: Means| {
            let last = values.iter().rfind(|(_, means, _)| *means == wanted);
            last.map(|(_, _, word)| word.text.clone()).filter(|text| !text.is_empty())
        };
        let mut has_model = values.iter().any(|(_, means, _)| *means == Means::Hides);
        for (name, means, word) in &values {
            let (form, wanted) = match means {
                Means::Model(form) => (*form, Means::Revision),
                Means::Weights(form) => (*form, Means::RevisionOf(name)),
                _ => {
                    self.other(name, *means, word);
                    continue;
                }
            };
            has_model |= matches!(means, Means::Model(_));
            let hub = Hub { scheme, revision: revision(wanted) };
            self.name(targets(form, word, &hub), &word.at);
        }
        let hub = Hub { scheme, revision: revision(Means::Revision) };
        has_model |= self.operands(verb.operands, &hub);
        if !has_model && self.hidden.is_empty() {
            self.default(&hub);
        }
        // Of a program that nobody knows, nothing is claimed that could be.
        if self.found != Found::Nowhere {
            for (what, at) in std::mem::take(&mut self.hidden) {
                self.name(vec![unresolved(what)], &at);
            }
        }
    }

    /// What is neither model nor weights.
    fn other(&mut self, name: &str, means: Means, word: &Word) {
        match means {
            Means::Danger(kind, when) => {
                let dangerous = match when {
                    When::True => is_true(&word.text),
                    When::Set => !word.text.is_empty(),
                    When::OneOf(values) => values.contains(&word.text.as_str()),
                };
                if dangerous || !word.known {
                    self.danger(kind, &word.at.clone(), name.to_owned(), word.known);
                }
            }
            Means::Hides => {
                let what = format!("what {name} \"{}\" names cannot be told from the Pod", shown(&word.text));
                self.name(vec![unresolved(what)], &word.at);
            }
            // A template may stand in the argument itself: then it is as good as the Pod.
            Means::Config if word.known && word.text.starts_with(['/', '.']) => {
                let target = Target::Path(word.text.clone());
                self.declared.name(Named { at: word.at.clone(), role: Role::Config, target });
            }
            Means::Config if !word.known => {
                let what = format!("what {name} \"{}\" names cannot be told from the Pod", shown(&word.text));
                self.name(vec![unresolved(what)], &word.at);
            }
            _ => {}
        }
    }

    /// The words without a flag; whether one of them is the model.
    fn operands(&mut self, operands: Operands, hub: &Hub<'_>) -> bool {
        let found = std::mem::take(&mut self.operands);
        let sure = || found.iter().filter(|(_, sure)| *sure).map(|(word, _)| word);
        // A word behind a flag that is not in the table may be that flag's value: then it counts if it looks like a model.
        let likely = || found.iter().map(|(word, _)| word).find(|word| word.text.contains('/') || !word.known);
        let none = (Form::Hub, Vec::new());
        let (form, chosen): (Form, Vec<&Word>) = match operands {
            // Of another program of the image nobody knows what its words are.
            _ if self.found == Found::Program => none,
            Operands::Inert | Operands::None => none,
            Operands::First(form) => (form, sure().next().or_else(likely).into_iter().collect()),
            Operands::All(form) => (form, sure().collect()),
            Operands::Pairs(form) => (form, sure().step_by(2).collect()),
        };
        for word in &chosen {
            self.name(targets(form, word, hub), &word.at);
        }
        // What is not known and no model could be a flag.
        sure().filter(|word| is_dynamic(word) && !chosen.contains(word)).for_each(|word| self.hide(word));
        !chosen.is_empty()
    }

    fn default(&mut self, hub: &Hub<'_>) {
        let (engine, at) = (self.engine.name, self.surroundings.at);
        let own_entry = self.found != Found::Program;
        match self.engine.default {
            Default::Nothing => {}
            Default::Store(variable, folder) => {
                let (folder, at) = match self.surroundings.environment.get(variable) {
                    Lookup::Literal(value, at) if !value.is_empty() => (value.to_owned(), at.clone()),
                    Lookup::Elsewhere(at) | Lookup::Absent(Some(at)) => {
                        let what = format!("where {engine} keeps its models cannot be told from the Pod");
                        let at = at.clone();
                        return self.name(vec![unresolved(what)], &at);
                    }
                    Lookup::Literal(..) | Lookup::Absent(None) => (folder.to_owned(), at.field("image")),
                };
                self.name(vec![Target::Store(folder)], &at);
            }
            Default::Repository(name) if own_entry => {
                let word = Word::literal(name, at);
                self.name(targets(Form::Repository, &word, hub), &at.field("image"));
            }
            Default::Repository(_) | Default::Unresolved => {
                let what = format!("which model {engine} serves here cannot be told from the Pod");
                self.name(vec![unresolved(what)], &at.field("image"));
            }
        }
    }

    fn name(&mut self, targets: Vec<Target>, at: &FieldPath) {
        for target in targets {
            self.declared.name(Named { at: at.clone(), role: Role::Weights, target });
        }
    }

    fn danger(&mut self, kind: Forbidden, at: &FieldPath, by: String, certain: bool) {
        let hazard = Hazard { at: at.clone(), kind, by, certain };
        let known = |other: &Hazard| other.kind == kind && other.at == *at;
        if !self.declared.hazards.iter().any(known) {
            self.declared.hazards.push(hazard);
        }
    }
}

/// Whether a word may turn out to be anything.
fn is_dynamic(word: &Word) -> bool {
    !word.known && word.text.starts_with('$')
}

/// The engine that knows nothing but what is telling.
pub(super) fn nobody() -> &'static Engine {
    &ANY_PROGRAM
}

/// What a switch is worth: on where it stands alone; a preset is known by its name alone.
fn switch(flag: &Flag, text: String, name: &str) -> String {
    match flag.means {
        Means::Model(Form::Preset) => name.to_owned(),
        Means::Danger(_, When::True) | Means::Hub(_) if text.is_empty() => "true".to_owned(),
        _ => text,
    }
}

/// Whether a switch or variable is on. What is not known to be off is on.
fn is_true(text: &str) -> bool {
    !["", "0", "false", "no", "off", "n", "f"].contains(&text.trim().to_ascii_lowercase().as_str())
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}
