//! How a registry asks for a token, and how it is asked for one.

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

/// Where anybody gets a token from, as the registry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    service: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Challenge {
    /// The first challenge of the scheme `Bearer` among the headers of an answer.
    pub(super) fn of(headers: &HeaderMap) -> Option<Challenge> {
        headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).find_map(parse)
    }

    /// Where to ask for a token that lets its holder read a repository, and nothing else.
    pub(super) fn uri(&self, repository: &str) -> Option<Uri> {
        let service = self.service.iter().map(|service| format!("service={}&", encoded(service)));
        let query: String =
            service.chain([format!("scope={}", encoded(&format!("repository:{repository}:pull")))]).collect();
        let mark = if self.realm.contains('?') { '&' } else { '?' };
        format!("{}{mark}{query}", self.realm).parse().ok()
    }
}

/// The header that a token goes into.
pub(super) fn authorization(json: &[u8]) -> Option<HeaderValue> {
    let Token { token, access_token } = serde_json::from_slice(json).ok()?;
    let token = token.or(access_token).filter(|token| !token.is_empty())?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn parse(header: &str) -> Option<Challenge> {
    const SCHEME: &str = "bearer ";
    let (scheme, parameters) = header.trim_start().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = parameters;
    while let Some((name, value, after)) = parameter(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            _ => {}
        }
        rest = after;
    }
    realm.map(|realm| Challenge { realm, service })
}

/// The next `name=value` or `name="value"` of a list, and what follows it (RFC 9110, 11.2).
fn parameter(list: &str) -> Option<(&str, String, &str)> {
    let (name, value) = list.trim_start_matches([' ', '\t', ',']).split_once('=')?;
    let Some(quoted) = value.trim_start().strip_prefix('"') else {
        let end = value.find(',').unwrap_or(value.len());
        return Some((name.trim(), value[..end].trim().to_owned(), &value[end..]));
    };
    let (mut text, mut escaped) = (String::new(), false);
    for (at, char) in quoted.char_indices() {
        match char {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some((name.trim(), text, &quoted[at + 1..])),
            _ => {
                text.push(char);
                escaped = false;
            }
        }
    }
    None
}

/// Text as a value in a query (RFC 3986): whatever is not unreserved is escaped.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(header: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"x\""));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(header).unwrap());
        Challenge::of(&headers)?.uri("acme/a").map(|uri| uri.to_string())
    }

    #[test]
    fn where_a_token_comes_from() {
        let scope = "scope=repository%3Aacme%2Fa%3Apull";
        for (header, expected) in [
            (
                "Bearer realm=\"https://a.example/t\",service=\"r.example\"",
                Some(format!("https://a.example/t?service=r.example&{scope}")),
            ),
            ("bearer service=r, realm=\"https://a.example/t\"", Some(format!("https://a.example/t?service=r&{scope}"))),
            ("Bearer realm=\"https://a.example/t?x=1\"", Some(format!("https://a.example/t?x=1&{scope}"))),
            (
                "Bearer realm=\"https://a.example/t\",scope=\"repository:other:push\"",
                Some(format!("https://a.example/t?{scope}")),
            ),
            (
                "Bearer service=\"a\\\"&x=\",realm=\"https://a.example/t\"",
                Some(format!("https://a.example/t?service=a%22%26x%3D&{scope}")),
            ),
            ("Bearer realm=\"https://a.example/t", None),
            ("Bearer service=\"x\"", None),
            ("Bearer realm=\"not a place\"", None),
            ("Bearer", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(uri(header), expected, "{header}");
        }
    }

    #[test]
    fn what_a_token_is() {
        for (json, expected) in [
            ("{\"token\":\"a\"}", Some("Bearer a")),
            ("{\"access_token\":\"b\",\"expires_in\":60}", Some("Bearer b")),
            ("{\"token\":\"a\",\"access_token\":\"b\"}", Some("Bearer a")),
            ("{\"token\":\"a\\r\\nX: y\"}", None),
            ("{\"token\":\"\"}", None),
            ("{}", None),
            ("token", None),
        ] {
            let header = authorization(json.as_bytes());
            assert_eq!(header.as_ref().map(|value| value.to_str().unwrap()), expected, "{json}");
        }
    }
}
