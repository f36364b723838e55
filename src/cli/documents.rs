//! YAML and JSON as people keep objects in files: several documents, lists, comments between them.

use serde_json::Value;

/// The objects of a text, each with the line that its document begins in, counted from 1. Lists are unpacked, empty
/// documents left out.
pub(super) fn read(text: &str) -> Result<Vec<(usize, Value)>, String> {
    let mut objects = Vec::new();
    for (line, document) in split(text) {
        let value = serde_saphyr::from_str::<Value>(&document)
            .map_err(|error| format!("the document in line {line}: {error}"))?;
        objects.extend(unpacked(value).into_iter().filter(|value| !value.is_null()).map(|value| (line, value)));
    }
    Ok(objects)
}

/// The documents of a text. A line that begins with `---` always begins another one: YAML allows it nowhere else, not even
/// inside a block of text.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (at, line) in text.lines().enumerate() {
        let begins = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if begins.is_some() || line.trim_end() == "..." {
            documents.push((at + 1, begins.unwrap_or_default().to_owned()));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
        }
        if let Some((_, document)) = documents.last_mut() {
            document.push('\n');
        }
    }
    let says_something = |line: &str| !line.trim().is_empty() && !line.starts_with(['#', '%']);
    documents.retain(|(_, document)| document.lines().any(says_something));
    documents
}

/// The items of a list, as `kubectl get --output yaml` writes one; any other object by itself.
fn unpacked(mut document: Value) -> Vec<Value> {
    let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items") {
        Some(Value::Array(items)) if is_list => std::mem::take(items),
        _ => vec![document],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_found_with_their_lines() {
        let text = "# Source: a.yaml\n---\nkind: A\n---\n\n--- # empty\nkind: List\nitems: [{kind: B}, {kind: C}]\n...\n---\ntext: |\n  --- not here\n";
        let found = read(text).unwrap();
        let wanted = [
            (2, json!({ "kind": "A" })),
            (6, json!({ "kind": "B" })),
            (6, json!({ "kind": "C" })),
            (10, json!({ "text": "--- not here\n" })),
        ];
        assert_eq!(found, wanted);
        assert_eq!(read("{\"kind\": \"A\"}").unwrap(), [(1, json!({ "kind": "A" }))]);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_is_no_yaml_is_named_by_its_line() {
        let error = read("a: b\n---\na: [\n").unwrap_err();
        assert!(error.starts_with("the document in line 2: "), "{error}");
    }
}
