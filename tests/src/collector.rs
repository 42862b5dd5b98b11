//! An OTLP/HTTP receiver that keeps every span.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use headland_platform::task::{self, Token};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, KeyValue};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::process::WAIT_LIMIT;

/// A span as the collector got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The service that exported it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its trace, hexadecimal.
    pub trace: String,
    /// Its id, hexadecimal.
    pub id: String,
    /// The id of its parent, empty when it has none.
    pub parent: String,
    /// Its attributes that are texts.
    pub attributes: BTreeMap<String, String>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// What `otlp_endpoint` takes.
    pub endpoint: String,
    spans: watch::Receiver<Vec<Span>>,
    token: Token,
}

impl Collector {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When the machine gives none.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port")?;
        let endpoint = format!("http://{}/v1/traces", listener.local_addr()?);
        let (received, spans) = watch::channel(Vec::new());
        let router = Router::new().route("/v1/traces", post(receive)).with_state(received);
        let token = Token::new();
        let serving = async move { axum::serve(listener, router).await };
        drop(task::spawn("collector", &token, serving));
        Ok(Self { endpoint, spans, token })
    }

    /// Waits until `choose` finds what it wants among the spans so far.
    ///
    /// # Errors
    /// When it does not in time, with the spans.
    pub async fn spans_when<T>(&self, choose: impl Fn(&[Span]) -> Option<T>) -> Result<T> {
        let mut spans = self.spans.clone();
        let waiting = spans.wait_for(|spans| choose(spans).is_some());
        if let Ok(Ok(spans)) = tokio::time::timeout(WAIT_LIMIT, waiting).await
            && let Some(chosen) = choose(&spans)
        {
            return Ok(chosen);
        }
        bail!("not among the spans: {:#?}", *self.spans.borrow())
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.borrow().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

async fn receive(State(received): State<watch::Sender<Vec<Span>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    received.send_modify(|spans| spans.extend(flatten(request)));
    StatusCode::OK
}

fn flatten(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let facts = resource.resource.map(|resource| texts(resource.attributes));
        let service = facts.and_then(|mut facts| facts.remove("service.name")).unwrap_or_default();
        let received = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(received.map(|span| Span {
            service: service.clone(),
            name: span.name,
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            attributes: texts(span.attributes),
        }));
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |KeyValue { key, value, .. }| match value {
        Some(Any { value: Some(AnyValue::StringValue(text)) }) => Some((key, text)),
        _ => None,
    };
    attributes.into_iter().filter_map(text).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
