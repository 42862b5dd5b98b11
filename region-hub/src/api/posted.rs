//! What is posted, read as JSON.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::Failure;

/// The body of a request; one that does not fit is answered as all that does not.
pub(super) struct Posted<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Posted<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let read = Json::from_request(request, state).await;
        read.map(|Json(value)| Self(value)).map_err(|rejection| refused(&rejection))
    }
}

fn refused(rejection: &JsonRejection) -> Failure {
    let text = match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            "what is posted here is JSON: send it with the header Content-Type: application/json, \
             for example curl --json"
                .to_owned()
        }
        other => other.body_text(),
    };
    Failure(rejection.status(), text)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;

    use super::*;

    async fn posted(kind: Option<&str>, body: &'static str) -> Result<u64, Failure> {
        let request = kind
            .into_iter()
            .fold(Request::post("/"), |request, kind| request.header("content-type", kind));
        let request = request.body(Body::from(body)).unwrap();
        Posted::from_request(request, &()).await.map(|Posted(number)| number)
    }

    #[tokio::test]
    async fn a_text_without_the_type_of_json_is_refused_with_the_header_that_it_needs() {
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            let Failure(code, text) = posted(kind, "7").await.unwrap_err();

            assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert!(text.contains("Content-Type: application/json"), "{text}");
        }
        assert_eq!(posted(Some("application/json"), "7").await.unwrap(), 7);
        let Failure(code, text) = posted(Some("application/json"), "seven").await.unwrap_err();
        assert_eq!(code, StatusCode::BAD_REQUEST);
        assert!(text.contains("line 1 column 1"), "{text}");
    }
}
