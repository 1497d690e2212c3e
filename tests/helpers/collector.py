"""A stand-in for a collector of traces: it takes what OTLP over HTTP sends."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.helpers.serving import PATIENCE_S, wait_until

Value = str | int | float | bool


@dataclass(frozen=True)
class Span:
    """A span as it was sent; the attributes that are the service's own are without its name."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    events: list[tuple[str, dict[str, Value]]]
    error: str | None  # what its status says, None where that is not one of an error
    service: dict[str, Value]


@dataclass
class Collector:
    """Its address, what came, and how it answers.

    While it `is_away`, it answers that; while it `hangs`, nothing. `came` has each request as it
    was sent, also those that were not taken.
    """

    url: str
    spans: list[Span] = field(default_factory=list)
    came: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    is_away: bool = False
    hangs: bool = False
    ended: Event = field(default_factory=Event)

    @property
    def environ(self) -> dict[str, str]:
        """What has a service send its traces here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "NO_PROXY": "127.0.0.1",
        }

    def trace(self, name: str, count: int = 1) -> list[Span]:
        """Wait for the requests that are called `name`; return the spans of the last one's trace.

        Spans come when they end: those below that of a request are here once it is.
        """
        wait_until(lambda: len(self.named(name)) >= count)
        last = self.named(name)[-1]
        return [one for one in list(self.spans) if one.trace == last.trace]

    def named(self, name: str) -> list[Span]:
        return [one for one in list(self.spans) if one.name == name]

    def take(self, data: bytes) -> None:
        sent = ExportTraceServiceRequest.FromString(data)
        for resource in sent.resource_spans:
            service = {one.key: _value(one.value) for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_span(one, service) for one in scope.spans]


@contextmanager
def run_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.came.append(data)
            collector.headers.append(dict(self.headers))
            if collector.hangs:
                collector.ended.wait(PATIENCE_S)
            is_away = collector.is_away or collector.hangs
            if not is_away:
                collector.take(data)
            self.send_response(503 if is_away else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        collector.ended.set()
        server.shutdown()


def _span(sent: SentSpan, service: dict[str, Value]) -> Span:
    return Span(
        sent.name,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        sent.kind,
        sent.start_time_unix_nano,
        sent.end_time_unix_nano,
        {one.key.removeprefix("grounded_labeler."): _value(one.value) for one in sent.attributes},
        [
            (event.name, {one.key: _value(one.value) for one in event.attributes})
            for event in sent.events
        ],
        sent.status.message if sent.status.code == Status.STATUS_CODE_ERROR else None,
        service,
    )


def _value(sent: AnyValue) -> Value:
    value: Value = getattr(sent, sent.WhichOneof("value") or "string_value")
    return value
