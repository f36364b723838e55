use super::*;
use crate::workload::engines::words::PodFields;
use serde_json::json;

fn environment() -> Environment {
    let env = serde_json::from_value::<Vec<_>>(json!([
        { "name": "KNOWN", "value": "k" },
        { "name": "TWO", "value": "a b" },
        { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } },
    ]));
    Environment::of(&env.unwrap(), &[], PodFields::default(), &FieldPath(String::new()))
}

/// The commands of a script, words between bars; one that is not known ends with `?`.
fn commands(text: &str) -> (String, bool) {
    let at = FieldPath("s".into());
    let parameters = ["name", "first", "second"].map(|word| Word::literal(word, &at));
    let script = read(text, &at, &environment(), Rc::default(), &parameters);
    let word = |word: &Word| format!("{}{}", word.text, if word.known { "" } else { "?" });
    let line = |command: &Command| command.words.iter().map(word).collect::<Vec<_>>().join("|");
    (script.commands.iter().map(line).collect::<Vec<_>>().join(" ; "), script.understood)
}

#[test]
fn scripts_are_read_as_a_shell_would() {
    for (text, expected) in [
        ("a b  c", "a|b|c"),
        ("a 'b c' \"d e\"", "a|b c|d e"),
        ("a b\\ c", "a|b c"),
        ("a \\\n b", "a|b"),
        ("a 'it'\"'\"'s'", "a|it's"),
        ("a \"x\\\"y\\n\"", "a|x\"y\\n"),
        ("a; b && c || d | e & f\ng", "a ; b ; c ; d ; e ; f ; g"),
        ("(a; b)", "a ; b"),
        ("a # rest\nb", "a ; b"),
        ("a x#y", "a|x#y"),
        ("a > out 2>&1 < in b", "a|b"),
        ("a $KNOWN ${KNOWN}x \"$KNOWN\"", "a|k|kx|k"),
        ("a $TWO \"$TWO\"", "a|a|b|a b"),
        ("a '$KNOWN'", "a|$KNOWN"),
        ("a $SECRET $NOWHERE", "a|${SECRET}?|${NOWHERE}?"),
        ("a ${KNOWN:-x} ${NOWHERE:-x}", "a|k|${NOWHERE:-x}?"),
        ("a \"$@\"", "a|first|second"),
        ("a $1 $2 $9", "a|first|second|${9}?"),
        ("a $(b c) d", "b|c ; a|$(…)?|d"),
        ("a `b` d", "b ; a|$(…)?|d"),
        ("X=1; a $X", "a|1"),
        ("X=1 a $X", "a|${X}?"),
        ("b && X=1; a $X", "b ; a|${X}?"),
        ("if b; then X=1; fi; a $X", "b ; a|${X}?"),
        ("KNOWN=2; a $KNOWN", "a|2"),
        ("export X=1; a $X", "export|X=1 ; a|1"),
        ("for X in 1 2; do a $X; done; b", "for|X|in|1|2 ; a|${X}? ; b"),
        ("while ! a; do b; done", "a ; b"),
        ("{ a; b; }", "a ; b"),
        ("a *.gguf {x,y}", "a|*.gguf?|{x,y}?"),
        ("! a", "a"),
        ("", ""),
    ] {
        assert_eq!(commands(text), (expected.to_owned(), true), "{text}");
    }
}

#[test]
fn what_is_not_understood_is_said() {
    for text in ["a 'b", "a \"b", "a $(b", "a ${b", "a `b", "cat <<EOF\na\nEOF", "eval a", ". /x", "source x", "a <(b)"]
    {
        assert!(!commands(text).1, "{text}");
    }
    let (after_eval, _) = commands("eval x; a $KNOWN");
    assert_eq!(after_eval, "eval|x ; a|${KNOWN}?");
    let many: String = (0..=MAX_VARIABLES).map(|index| format!("X{index}=1;")).collect();
    assert!(!commands(&many).1);
    assert!(!commands(&"a ".repeat(MAX_WORDS + 1)).1);
    assert!(!commands(&"$(".repeat(MAX_DEPTH + 2)).1);
}
