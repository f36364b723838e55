//! A call to the API server that failed, in words and as one word.

use thiserror::Error;

use super::runner::Failure;

/// The field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "weighbridge-operator";

/// A call that failed.
#[derive(Debug, Error)]
#[error("cannot {doing}: {source}")]
pub struct CallFailed {
    doing: &'static str,
    #[source]
    source: kube::Error,
}

impl CallFailed {
    /// For `map_err`: `doing` is what could not be done, such as `read the webhook configuration`.
    pub fn when(doing: &'static str) -> impl FnOnce(kube::Error) -> CallFailed {
        move |source| CallFailed { doing, source }
    }
}

impl Failure for CallFailed {
    fn code(&self) -> &'static str {
        code(&self.source)
    }
}

/// What went wrong, as one word of a closed set.
pub fn code(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            429 => "TooManyRequests",
            400..=499 => "Rejected",
            _ => "ServerError",
        },
        _ => "Unreachable",
    }
}

/// Whether the API server refused a write because the object is no longer what the write was planned from: it is gone,
/// another one, or has changed. Whoever plans again from a later snapshot does right.
pub fn outdated(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}
