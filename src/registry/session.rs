//! What is asked of one registry, for one repository.

use hyper::header::{AUTHORIZATION, HeaderValue, LOCATION};
use hyper::{StatusCode, Uri};

use super::challenge::{Challenge, authorization};
use super::exchange::{Answer, Connector, Origin, Request};
use super::fetch::{FetchError, Part, Settings};
use crate::api::v1alpha1::BundleReference;
use crate::model::{Digest, shown};

/// What a manifest of an artifact may call itself.
const MANIFEST_TYPES: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// How often a blob may be looked for elsewhere: a registry that sends to its store, the store to the nearest copy, and
/// one more.
const MAX_REDIRECTS: usize = 3;
/// Longest answer of who hands out tokens, in bytes: those of cloud registries take a few KiB.
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// The host that answers for the one of this name, which serves web pages alone.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A registry that is asked about one repository.
pub(super) struct Session<'a> {
    reference: &'a BundleReference,
    settings: &'a Settings,
    connector: Connector,
    origin: Origin,
    token: Option<HeaderValue>,
}

impl<'a> Session<'a> {
    pub(super) fn new(reference: &'a BundleReference, settings: &'a Settings, connector: Connector) -> Self {
        let host = reference.host();
        let insecure = settings.insecure.iter().any(|it| it == host);
        let origin = Origin::of_host(if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { host }, insecure);
        Session { reference, settings, connector, origin, token: None }
    }

    /// The bytes of the manifest, as the registry gives them.
    pub(super) async fn manifest(&mut self) -> Result<Vec<u8>, FetchError> {
        let digest = self.reference.digest();
        let path = format!("/v2/{}/manifests/{digest}", self.reference.repository());
        let limit = self.settings.limits.manifest_bytes;
        let answer = self.asked(&path, MANIFEST_TYPES, Part::Manifest, limit).await?;
        if answer.status.is_redirection() {
            return Err(self.elsewhere(&answer, "and a manifest is taken from the registry alone"));
        }
        self.body(answer, digest)
    }

    /// The bytes of a blob of so many, from wherever the registry keeps it.
    pub(super) async fn blob(&mut self, digest: Digest, limit: usize) -> Result<Vec<u8>, FetchError> {
        let path = format!("/v2/{}/blobs/{digest}", self.reference.repository());
        let mut answer = self.asked(&path, "*/*", Part::Bundle, limit).await?;
        let (mut origin, mut path) = (self.origin.clone(), path);
        for _ in 0..MAX_REDIRECTS {
            if !answer.status.is_redirection() {
                return self.body(answer, digest);
            }
            (origin, path) = self.target(&answer, &origin, &path)?;
            let token = self.token.as_ref().filter(|_| origin == self.origin);
            answer = self.exchange(&origin, &path, "*/*", token, Part::Bundle, limit).await?;
        }
        if answer.status.is_redirection() {
            return Err(self.elsewhere(&answer, "after other places before"));
        }
        self.body(answer, digest)
    }

    /// An answer of the registry; where it wants a token that anybody gets, one is fetched first.
    async fn asked(
        &mut self,
        path: &str,
        accept: &'static str,
        what: Part,
        limit: usize,
    ) -> Result<Answer, FetchError> {
        let answer = self.exchange(&self.origin, path, accept, self.token.as_ref(), what, limit).await?;
        if answer.status != StatusCode::UNAUTHORIZED || self.token.is_some() {
            return Ok(answer);
        }
        let Some(challenge) = Challenge::of(&answer.headers) else { return Ok(answer) };
        self.token = Some(self.token_by(&challenge).await?);
        self.exchange(&self.origin, path, accept, self.token.as_ref(), what, limit).await
    }

    async fn token_by(&self, challenge: &Challenge) -> Result<HeaderValue, FetchError> {
        let no_token = |to: &str, why| FetchError::Elsewhere { host: self.host(), to: shown(to), why };
        let uri = challenge.uri(self.reference.repository());
        let uri = uri.ok_or_else(|| no_token("nowhere", "for a token"))?;
        let origin = self.origin_of(&uri).ok_or_else(|| no_token(&uri.to_string(), "for a token, and not over TLS"))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let answer = self.exchange(&origin, path, "application/json", None, Part::Token, MAX_TOKEN_BYTES).await?;
        match answer.status {
            StatusCode::OK => {
                authorization(&answer.body).ok_or_else(|| no_token(&uri.to_string(), "for a token, and none is there"))
            }
            status => Err(self.not_ok(status, &origin.host)),
        }
    }

    /// One request, whatever comes of it.
    async fn exchange(
        &self,
        origin: &Origin,
        path: &str,
        accept: &'static str,
        token: Option<&HeaderValue>,
        what: Part,
        limit: usize,
    ) -> Result<Answer, FetchError> {
        let authorization = token.map(|token| (AUTHORIZATION, token.clone()));
        let request = Request { origin, path, accept, authorization, limit };
        let answer = self.connector.exchange(request, &self.settings.limits).await;
        answer.map_err(|broken| FetchError::of(broken, &shown(&origin.host), what, limit))
    }

    /// The body of an answer that is one.
    fn body(&self, answer: Answer, digest: Digest) -> Result<Vec<u8>, FetchError> {
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(FetchError::Missing { host: self.host(), place: self.reference.repository().to_owned(), digest })
            }
            status => Err(self.not_ok(status, &self.host())),
        }
    }

    fn not_ok(&self, status: StatusCode, host: &str) -> FetchError {
        let (host, number) = (shown(host), status.as_u16());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                FetchError::Closed { host, place: self.reference.repository().to_owned(), status: number }
            }
            _ => FetchError::Trouble { host, status: number },
        }
    }

    /// Where a redirect leads: to TLS, or to a place that is known to have none.
    fn target(&self, answer: &Answer, origin: &Origin, path: &str) -> Result<(Origin, String), FetchError> {
        let uri = location(answer).ok_or_else(|| self.elsewhere(answer, "which is no place"))?;
        let to = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if uri.authority().is_none() {
            let to = if to.starts_with('/') { to } else { path.to_owned() };
            return Ok((origin.clone(), to));
        }
        let origin = self.origin_of(&uri).ok_or_else(|| self.elsewhere(answer, "which has no TLS"))?;
        Ok((origin, to))
    }

    fn origin_of(&self, uri: &Uri) -> Option<Origin> {
        let host = uri
            .port_u16()
            .map_or_else(|| uri.host().map(str::to_owned), |port| Some(format!("{}:{port}", uri.host()?)))?;
        let known = self.settings.insecure.contains(&host);
        match uri.scheme_str() {
            Some("https") => Some(Origin::of_host(&host, false)),
            Some("http") if known => Some(Origin::of_host(&host, true)),
            _ => None,
        }
    }

    fn elsewhere(&self, answer: &Answer, why: &'static str) -> FetchError {
        let to = answer.headers.get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
        // What stands in the query of such a place often lets its holder in.
        let to = to.as_deref().and_then(|to| to.split('?').next()).unwrap_or("nowhere");
        FetchError::Elsewhere { host: self.host(), to: shown(to), why }
    }

    fn host(&self) -> String {
        self.reference.host().to_owned()
    }
}

fn location(answer: &Answer) -> Option<Uri> {
    answer.headers.get(LOCATION)?.to_str().ok()?.parse().ok()
}
