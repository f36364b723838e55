//! A script of a shell as the commands in it, as far as it can be read without running it.
//!
//! Receives the text after `sh -c` and the container's variables; promises that a word that it takes for known is what the
//! shell would make of it, and that whatever it does not understand makes the script not understood or a word not
//! known. It never follows control flow: every branch is taken to run, and a variable that is set in only one of them is
//! not known.

use std::collections::HashMap;
use std::rc::Rc;

use super::words::{Environment, Lookup, Word};
use crate::workload::FieldPath;

/// How deep command substitutions are read into one another: deeper ones are not understood.
const MAX_DEPTH: usize = 8;
/// How many variables of its own a script is followed through; one with more is not understood.
const MAX_VARIABLES: usize = 64;
/// How many words are made of a script; one with more is not understood.
const MAX_WORDS: usize = 4096;

/// The variables that a script has set, by name; `None` where the value is not known.
pub(super) type Variables = HashMap<String, Option<String>>;

/// One simple command.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
    /// What the script has set before it, and what stands before the command itself.
    pub(super) variables: Rc<Variables>,
}

/// A script, read.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) commands: Vec<Command>,
    /// Whether all of it could be read.
    pub(super) understood: bool,
    /// Comments, which run nothing.
    pub(super) comments: Vec<String>,
}

/// Reads a script that stands at a place of the object. `variables` are what was set before it, besides those of the
/// container; `parameters` are the words behind it, for `"$@"`.
pub(super) fn read(
    text: &str,
    at: &FieldPath,
    environment: &Environment,
    variables: Rc<Variables>,
    parameters: &[Word],
) -> Script {
    let script = Script { commands: Vec::new(), understood: true, comments: Vec::new() };
    let mut reader =
        Reader { at, environment, parameters, script, variables, opaque: false, conditional: 0, budget: MAX_WORDS };
    reader.run(text, 0);
    reader.script
}

struct Reader<'a> {
    at: &'a FieldPath,
    environment: &'a Environment,
    parameters: &'a [Word],
    script: Script,
    variables: Rc<Variables>,
    /// Whether any variable may have been changed by what was not read.
    opaque: bool,
    /// How many compound commands are open.
    conditional: usize,
    budget: usize,
}

/// A word in the making.
#[derive(Default)]
struct Draft {
    text: String,
    unknown: bool,
    splits: bool,
    quoted: bool,
    begun: bool,
}

/// A command in the making.
#[derive(Default)]
struct Line {
    words: Vec<(Word, bool)>,
    draft: Draft,
    /// The next word is where a redirection leads, not an argument.
    redirected: bool,
    /// What stands before it decides whether it runs.
    conditional: bool,
}

impl Reader<'_> {
    fn run(&mut self, text: &str, depth: usize) {
        if depth > MAX_DEPTH {
            self.script.understood = false;
            return;
        }
        let mut line = Line::default();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let tail = &rest[next.len_utf8()..];
            rest = match next {
                ' ' | '\t' | '\r' => {
                    self.end_word(&mut line);
                    tail
                }
                '\n' | ';' | '&' | '|' | '(' | ')' => {
                    self.end_line(&mut line);
                    let doubled = tail.starts_with(next) && matches!(next, '&' | '|');
                    line.conditional = doubled || next == '|';
                    if doubled { &tail[1..] } else { tail }
                }
                '<' | '>' => self.redirect(rest, &mut line),
                '#' if !line.draft.begun => {
                    let (comment, after) = tail.split_at(tail.find('\n').unwrap_or(tail.len()));
                    self.script.comments.push(comment.to_owned());
                    after
                }
                '\\' => escaped(tail, &mut line.draft),
                '\'' => self.single(tail, &mut line.draft),
                '"' => self.double(tail, &mut line, depth),
                '$' => self.dollar(tail, &mut line, false, depth),
                '`' => self.backticks(tail, &mut line.draft, depth),
                '*' | '?' | '{' | '}' => {
                    // A pattern, or a list of words in braces; alone, braces only group.
                    let alone = matches!(next, '{' | '}') && !line.draft.begun && ends_word(tail);
                    line.draft.push(next);
                    line.draft.unknown |= !alone;
                    line.draft.splits |= !alone;
                    tail
                }
                plain => {
                    line.draft.push(plain);
                    tail
                }
            };
        }
        self.end_line(&mut line);
    }

    fn end_word(&mut self, line: &mut Line) {
        let draft = std::mem::take(&mut line.draft);
        if !draft.begun {
            return;
        }
        if std::mem::take(&mut line.redirected) {
            return;
        }
        if self.budget == 0 {
            self.script.understood = false;
            return;
        }
        self.budget -= 1;
        let word = Word { text: draft.text, known: !draft.unknown, splits: draft.splits, at: self.at.clone() };
        line.words.push((word, draft.quoted));
    }

    fn end_line(&mut self, line: &mut Line) {
        self.end_word(line);
        let Line { mut words, conditional, .. } = std::mem::take(line);
        self.skip_keywords(&mut words);
        let set = words.iter().take_while(|(word, _)| assignment(word).is_some()).count();
        let assigned: Vec<(String, Option<String>)> =
            words.drain(..set).filter_map(|(word, _)| assignment(&word)).collect();
        let uncertain = conditional || self.conditional > 0;
        let Some(first) = words.first().map(|(word, _)| word.text.clone()) else {
            assigned.into_iter().for_each(|(name, value)| self.set(name, value.filter(|_| !uncertain)));
            return;
        };
        match first.as_str() {
            "export" | "declare" | "local" | "readonly" | "typeset" => {
                for (word, _) in &words[1..] {
                    match assignment(word) {
                        Some((name, value)) => self.set(name, value.filter(|_| !uncertain)),
                        None => self.opaque |= !word.known,
                    }
                }
            }
            "unset" | "read" | "for" | "select" | "getopts" | "mapfile" => {
                words[1..].iter().for_each(|(word, _)| self.set(word.text.clone(), None));
            }
            "eval" | "source" | "." | "alias" | "function" | "set" | "trap" | "shift" => {
                self.opaque = true;
                self.script.understood &= matches!(first.as_str(), "set" | "trap" | "shift");
            }
            _ => {}
        }
        let mut variables = Rc::clone(&self.variables);
        if !assigned.is_empty() {
            Rc::make_mut(&mut variables).extend(assigned);
        }
        let words = words.into_iter().map(|(word, _)| word).collect();
        self.script.commands.push(Command { words, variables });
    }

    /// Takes words of the grammar away from the beginning of a command.
    fn skip_keywords(&mut self, words: &mut Vec<(Word, bool)>) {
        let mut skipped = 0;
        for (word, quoted) in words.iter() {
            match word.text.as_str() {
                _ if *quoted => break,
                "if" | "while" | "until" => self.conditional += 1,
                "fi" | "esac" | "done" => self.conditional = self.conditional.saturating_sub(1),
                "for" | "case" => {
                    self.conditional += 1;
                    break;
                }
                "then" | "else" | "elif" | "do" | "!" | "time" | "{" | "}" => {}
                _ => break,
            }
            skipped += 1;
        }
        words.drain(..skipped);
    }

    fn set(&mut self, name: String, value: Option<String>) {
        if self.variables.len() >= MAX_VARIABLES && !self.variables.contains_key(&name) {
            self.opaque = true;
            self.script.understood = false;
            return;
        }
        Rc::make_mut(&mut self.variables).insert(name, value);
    }

    fn value(&self, name: &str) -> Option<String> {
        if self.opaque {
            return None;
        }
        match self.variables.get(name) {
            Some(value) => value.clone(),
            None => match self.environment.get(name) {
                Lookup::Literal(value, _) => Some(value.to_owned()),
                Lookup::Elsewhere(_) | Lookup::Absent(_) => None,
            },
        }
    }

    fn redirect<'t>(&mut self, rest: &'t str, line: &mut Line) -> &'t str {
        // `2>`: the number belongs to the operator.
        if line.draft.begun && !line.draft.quoted && line.draft.text.bytes().all(|byte| byte.is_ascii_digit()) {
            line.draft = Draft::default();
        }
        self.end_word(line);
        // A text in the script, or the output of a command in place of a file.
        if rest.starts_with("<<") || rest.starts_with("<(") || rest.starts_with(">(") {
            self.script.understood = false;
        }
        line.redirected = true;
        rest.trim_start_matches(['<', '>', '&', '|', '-'])
    }

    fn single<'t>(&mut self, rest: &'t str, draft: &mut Draft) -> &'t str {
        draft.quote();
        match rest.split_once('\'') {
            Some((text, after)) => {
                draft.text.push_str(text);
                after
            }
            None => {
                self.script.understood = false;
                draft.text.push_str(rest);
                ""
            }
        }
    }

    fn double<'t>(&mut self, mut rest: &'t str, line: &mut Line, depth: usize) -> &'t str {
        line.draft.quote();
        while let Some(next) = rest.chars().next() {
            let tail = &rest[next.len_utf8()..];
            rest = match next {
                '"' => return tail,
                '\\' => match tail.chars().next() {
                    Some('\n') => &tail[1..],
                    Some(special @ ('$' | '`' | '"' | '\\')) => {
                        line.draft.text.push(special);
                        &tail[1..]
                    }
                    _ => {
                        line.draft.text.push('\\');
                        tail
                    }
                },
                '$' => self.dollar(tail, line, true, depth),
                '`' => self.backticks(tail, &mut line.draft, depth),
                plain => {
                    line.draft.text.push(plain);
                    tail
                }
            };
        }
        self.script.understood = false;
        rest
    }

    /// What begins with a dollar; `rest` is what follows it.
    fn dollar<'t>(&mut self, rest: &'t str, line: &mut Line, quoted: bool, depth: usize) -> &'t str {
        if let Some(substitution) = rest.strip_prefix('(') {
            let (inner, after, closed) = parenthesised(substitution);
            self.script.understood &= closed;
            self.run_inside(inner, depth);
            line.draft.unknown("$(…)", quoted);
            return after;
        }
        if let Some(braced) = rest.strip_prefix('{') {
            let Some((inner, after)) = braced.split_once('}') else {
                self.script.understood = false;
                return "";
            };
            self.parameter(inner, line, quoted);
            return after;
        }
        let first = rest.chars().next();
        if first.is_some_and(|first| matches!(first, '\'' | '"')) && !quoted {
            line.draft.unknown("$", false);
            return rest;
        }
        let name = match first {
            Some('@' | '*' | '#' | '?' | '!' | '-' | '$' | '0'..='9') => 1,
            _ => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        if name == 0 {
            line.draft.push('$');
            return rest;
        }
        self.parameter(&rest[..name], line, quoted);
        &rest[name..]
    }

    /// What `${…}` or `$NAME` stands for.
    fn parameter(&mut self, inner: &str, line: &mut Line, quoted: bool) {
        if matches!(inner, "@" | "*") {
            return self.all_parameters(line, quoted);
        }
        let length = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, operation) = inner.split_at(length);
        let positional = name.parse::<usize>().ok();
        let value = match positional {
            // The first word behind a script is its name.
            Some(index) => self.parameters.get(index).filter(|word| word.known).map(|word| word.text.clone()),
            None => self.value(name),
        };
        let value = match operation {
            "" => value,
            // With a default, which does not count where the variable has a value.
            _ if operation.starts_with(":-") || operation.starts_with('-') => value.filter(|value| !value.is_empty()),
            _ => None,
        };
        match value {
            None => line.draft.unknown(&format!("${{{inner}}}"), quoted),
            Some(value) if quoted => line.draft.text.push_str(&value),
            Some(value) => self.split_in(&value, line),
        }
    }

    fn all_parameters(&mut self, line: &mut Line, quoted: bool) {
        let alone = line.draft.text.is_empty();
        if !alone || self.opaque {
            return line.draft.unknown("$@", quoted);
        }
        line.draft = Draft::default();
        let words = self.parameters.get(1..).unwrap_or_default();
        line.words.extend(words.iter().map(|word| (word.clone(), true)));
        // The closing quote, if there is one, ends a word that is empty and that the shell would leave out.
    }

    /// Adds the value of an unquoted variable, which a shell splits at blanks.
    fn split_in(&mut self, value: &str, line: &mut Line) {
        if value.contains(['*', '?', '[']) {
            return line.draft.unknown(value, false);
        }
        for (index, part) in value.split([' ', '\t', '\n']).enumerate() {
            if index > 0 {
                self.end_word(line);
            }
            if !part.is_empty() {
                line.draft.begun = true;
                line.draft.text.push_str(part);
            }
        }
    }

    fn backticks<'t>(&mut self, rest: &'t str, draft: &mut Draft, depth: usize) -> &'t str {
        let Some((inner, after)) = rest.split_once('`') else {
            self.script.understood = false;
            return "";
        };
        self.run_inside(inner, depth);
        draft.unknown("$(…)", draft.quoted);
        after
    }

    /// Reads the commands of a substitution, whose variables end with it.
    fn run_inside(&mut self, inner: &str, depth: usize) {
        let (variables, conditional) = (Rc::clone(&self.variables), self.conditional);
        self.run(inner, depth + 1);
        (self.variables, self.conditional) = (variables, conditional);
    }
}

impl Draft {
    fn push(&mut self, next: char) {
        self.begun = true;
        self.text.push(next);
    }

    fn quote(&mut self) {
        (self.begun, self.quoted) = (true, true);
    }

    fn unknown(&mut self, written: &str, quoted: bool) {
        (self.begun, self.unknown) = (true, true);
        self.splits |= !quoted;
        self.text.push_str(written);
    }
}

fn escaped<'t>(rest: &'t str, draft: &mut Draft) -> &'t str {
    let Some(next) = rest.chars().next() else { return rest };
    if next != '\n' {
        draft.quote();
        draft.text.push(next);
    }
    &rest[next.len_utf8()..]
}

fn ends_word(rest: &str) -> bool {
    rest.chars().next().is_none_or(|next| next.is_whitespace() || matches!(next, ';' | '&' | '|' | ')'))
}

/// Splits at the parenthesis that closes one that is open; the third says whether there is one.
fn parenthesised(text: &str) -> (&str, &str, bool) {
    let mut open = 1_usize;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => open += 1,
            b')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return (&text[..index], &text[index + 1..], true);
        }
    }
    (text, "", false)
}

/// A word that sets a variable: its name, and its value where that is known.
fn assignment(word: &Word) -> Option<(String, Option<String>)> {
    let (name, value) = word.text.split_once('=')?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let proper = name.starts_with(|c: char| letter(c) && !c.is_ascii_digit()) && name.chars().all(letter);
    proper.then(|| (name.to_owned(), word.known.then(|| value.to_owned())))
}

#[cfg(test)]
mod tests;
