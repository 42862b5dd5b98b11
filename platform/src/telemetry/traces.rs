//! Spans, exported by OTLP over HTTP.
//!
//! A record keeps the `traceparent` of its first writer for life, so every node on its way exports
//! one span with the first writer's span as parent, and a collector shows one trace from device to
//! alert. Exporting is best effort: a full queue drops spans and counts them, never records.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use headland_event::{EventTime, TraceParent};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;

use crate::task::{self, Task};

/// Spans that wait for export; more are dropped, because a collector that is away must cost no
/// memory on a device.
const QUEUE_SPANS: usize = 1_024;

/// Spans of one request.
const BATCH_SPANS: usize = 256;

/// How long the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// One step of a record's way.
#[derive(Debug, Clone)]
pub struct Span {
    /// The trace, and the span this one is or hangs below.
    pub trace: TraceParent,
    /// This span's id: the first writer uses the id in `trace` itself and has no parent.
    pub span_id: u64,
    /// What happened, for example `hub.ingest`.
    pub name: &'static str,
    /// When it began, wall clock.
    pub start: EventTime,
    /// When it ended, wall clock.
    pub end: EventTime,
    /// Facts about it, by name.
    pub attributes: Vec<(&'static str, String)>,
}

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceSinkError {
    /// The exporter refused the endpoint.
    #[error("cannot export traces to {endpoint}")]
    Endpoint {
        /// The endpoint as configured.
        endpoint: String,
        /// What the library said.
        source: ExporterBuildError,
    },
}

/// Takes spans and exports them from a task of its own.
#[derive(Debug, Clone)]
pub struct TraceSink {
    spans: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl TraceSink {
    /// Starts exporting to an OTLP/HTTP endpoint such as `http://127.0.0.1:4318/v1/traces`.
    ///
    /// The task ends, after a last export, when every clone of the sink is dropped.
    ///
    /// # Errors
    /// [`TraceSinkError::Endpoint`] when the endpoint is not a URL the exporter takes.
    pub fn start(endpoint: &str, service: &str) -> Result<(Self, Task<()>), TraceSinkError> {
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_endpoint(endpoint)
            .build()
            .map_err(|source| TraceSinkError::Endpoint { endpoint: endpoint.to_owned(), source })?;
        exporter.set_resource(&Resource::builder().with_service_name(service.to_owned()).build());
        let (spans, queue) = mpsc::channel(QUEUE_SPANS);
        let runtime = tokio::runtime::Handle::current();
        // The exporter's client blocks, so it has a thread instead of a place among the tasks.
        let task = task::spawn_blocking("traces", move || export_all(&exporter, queue, &runtime));
        Ok((Self { spans, dropped: Arc::default() }, task))
    }

    /// Queues a span; drops and counts it when the queue is full.
    pub fn export(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many spans were dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn export_all(
    exporter: &SpanExporter,
    mut queue: mpsc::Receiver<Span>,
    runtime: &tokio::runtime::Handle,
) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![data(first)];
        while batch.len() < BATCH_SPANS
            && let Ok(span) = queue.try_recv()
        {
            batch.push(data(span));
        }
        if let Err(error) = runtime.block_on(exporter.export(batch)) {
            tracing::warn!(%error, "cannot export spans; they are dropped");
        }
    }
}

fn data(span: Span) -> SpanData {
    let Span { trace, span_id, name, start, end, attributes } = span;
    let parent = if trace.span_id() == span_id { 0 } else { trace.span_id() };
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(trace.trace_id().to_be_bytes()),
            SpanId::from_bytes(span_id.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from_bytes(parent.to_be_bytes()),
        parent_span_is_remote: true,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(name),
        start_time: system_time(start),
        end_time: system_time(end),
        attributes: attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("headland").build(),
    }
}

fn system_time(time: EventTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(time.millis()).unwrap_or(0))
}

/// A blocking HTTP client; the exporter's own choices bring a second TLS provider.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
}

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(EXPORT_TIMEOUT))
            .http_status_as_error(false)
            .build();
        Self { agent: config.into() }
    }
}

/// What `async_trait` makes of the answer.
type Sending<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'life, 'future>(&'life self, request: Request<Bytes>) -> Sending<'future>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = self.agent.run(Request::from_parts(parts, body.to_vec()))?;
            let (parts, mut body) = answer.into_parts();
            Ok(Response::from_parts(parts, Bytes::from(body.read_to_vec()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use headland_event::trace::Sampled;

    use super::*;

    fn span(trace: TraceParent, span_id: u64) -> Span {
        let at = EventTime::from_millis(1_000);
        let attributes = vec![("region", "eu".to_owned())];
        Span { trace, span_id, name: "hub.ingest", start: at, end: at, attributes }
    }

    #[test]
    fn the_first_writers_span_has_no_parent_and_later_ones_hang_below_it() {
        let trace = TraceParent::new(7, 9, Sampled::Yes);

        assert_eq!(data(span(trace, 9)).parent_span_id, SpanId::INVALID);
        assert_eq!(data(span(trace, 3)).parent_span_id, SpanId::from_bytes(9_u64.to_be_bytes()));
    }

    #[tokio::test]
    async fn a_span_arrives_at_the_collector() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let (sink, task) = TraceSink::start(&endpoint, "hub").unwrap();
        let collector = task::spawn_blocking("collector", move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            let mut chunk = [0_u8; 4_096];
            while !received.windows(10).any(|window| window == b"hub.ingest") {
                let count = stream.read(&mut chunk).unwrap();
                received.extend_from_slice(&chunk[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            received
        });

        sink.export(span(TraceParent::new(7, 9, Sampled::Yes), 3));
        drop(sink);
        let received = collector.join().await.unwrap();
        task.join().await.unwrap();

        assert!(received.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
    }
}
