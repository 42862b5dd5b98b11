//! What is asked for in the first line of a request: its path and its query.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::Failure;

/// The parts of a path that name something; those that do not fit are answered as all that does
/// not.
pub(super) struct Named<T>(pub(super) T);

/// A query, likewise.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = Path::from_request_parts(parts, state).await;
        let refused = |why: PathRejection| Failure(why.status(), why.body_text());
        read.map(|Path(value)| Self(value)).map_err(refused)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = Query::from_request_parts(parts, state).await;
        let refused = |why: QueryRejection| Failure(why.status(), why.body_text());
        read.map(|Query(value)| Self(value)).map_err(refused)
    }
}

/// The answer where there is nothing.
pub(super) async fn nothing(at: Uri) -> Failure {
    let text = format!("there is nothing at {}; docs/specs/records.md lists what is", at.path());
    Failure(StatusCode::NOT_FOUND, text)
}

/// The answer to what cannot be done with what is there.
pub(super) async fn not_so(method: Method, at: Uri) -> Failure {
    let text =
        format!("{method} is nothing that {} takes; the header allow says what is", at.path());
    Failure(StatusCode::METHOD_NOT_ALLOWED, text)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(deny_unknown_fields)]
    struct Page {
        from: u64,
    }

    async fn asked(at: &str) -> Result<Page, Failure> {
        let (mut parts, ()) = Request::get(at).body(()).unwrap().into_parts();
        Asked::from_request_parts(&mut parts, &()).await.map(|Asked(page)| page)
    }

    #[tokio::test]
    async fn a_query_that_does_not_fit_is_answered_as_all_that_does_not() {
        let Failure(code, negative) = asked("/v1?from=-1").await.unwrap_err();
        let Failure(_, unknown) = asked("/v1?from=1&most=2").await.unwrap_err();

        assert_eq!(code, StatusCode::BAD_REQUEST);
        assert!(negative.contains("from: invalid digit"), "{negative}");
        assert!(unknown.contains("`most`, expected `from`"), "{unknown}");
        assert_eq!(asked("/v1?from=1").await.unwrap(), Page { from: 1 });
    }

    #[tokio::test]
    async fn what_is_not_there_and_what_it_does_not_take_is_said_with_its_path() {
        let Failure(code, nowhere) = nothing(Uri::from_static("/v2/status?x=1")).await;
        let Failure(other, deleted) = not_so(Method::DELETE, Uri::from_static("/v1/groups")).await;

        assert_eq!([code, other], [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED]);
        assert!(nowhere.starts_with("there is nothing at /v2/status; "), "{nowhere}");
        assert!(deleted.starts_with("DELETE is nothing that /v1/groups takes"), "{deleted}");
    }
}
