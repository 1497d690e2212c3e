"""Makes spans with OpenTelemetry and sends them to a collector; the only module that imports it.

Its variables, such as OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER, say where to and how:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import threading
from collections.abc import Mapping, Sequence

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

logger = logging.getLogger(__name__)

_NAME = "grounded-labeler"
_OF_BATCHES = "opentelemetry.sdk._shared_internal"  # the logger of what BatchSpanProcessor says


class Recorder:
    """Makes the spans of one process and sends them in the background; threads share it."""

    def __init__(self, version: str, *, shows_prompts: bool) -> None:
        """Start the thread that sends; see `tracing.start_tracing`."""
        self.shows_prompts = shows_prompts
        # What the variables say of the service counts before what is said here.
        ours = Resource.create({"service.name": _NAME, "service.version": version})
        self._provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter()))
        self._tracer = self._provider.get_tracer(_NAME, version)

    def request(self, method: str, headers: Mapping[str, str]) -> Span:
        """Return the span of a request with these `headers`, whose names are in lower case."""
        context = propagate.extract(headers)
        return self._tracer.start_span(method, context, SpanKind.SERVER)

    def child(self, parent: Span, name: str, start_ns: int | None = None) -> Span:
        """Return a span below `parent`, which may have ended."""
        return self._tracer.start_span(name, set_span_in_context(parent), start_time=start_ns)

    def fail(self, span: Span, kind: str, sentence: str, *, is_fault: bool) -> None:
        """Note an error on a span, as its status if it is ours."""
        span.set_attribute("error.type", kind)
        span.add_event("exception", {"exception.type": kind, "exception.message": sentence})
        if is_fault:
            span.set_status(StatusCode.ERROR, sentence)

    def note_fault(self, span: Span, kind: str) -> None:
        """Note on a span that it failed, unless its status says so."""
        if isinstance(span, ReadableSpan) and span.status.is_unset:
            span.set_attribute("error.type", kind)
            span.set_status(StatusCode.ERROR, "The log says why.")

    def stop(self, timeout_s: float) -> None:
        """Send what is left, within `timeout_s` seconds; what is made from now on is dropped."""
        # A thread, as there is no limit to what it takes; the process ends without it.
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(timeout_s)
        if ending.is_alive():
            logger.warning("The last traces could not be sent within %.0f s", timeout_s)


class _Exporter(SpanExporter):
    """An exporter that says once that the collector is away, and once that it is back."""

    def __init__(self) -> None:
        self._exporter, self._is_away = OTLPSpanExporter(), False
        # Its own lines are several for each batch; the first has the reason.
        logging.getLogger(trace_exporter.__name__).addFilter(_REASON)
        logging.getLogger(_OF_BATCHES).addFilter(_ONCE)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called on one thread."""
        _REASON.said = None
        result = self._exporter.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            logger.warning("Traces cannot be sent, and are lost until they can: %s", _REASON.said)
        elif self._is_away and not is_away:
            logger.warning("Traces are sent again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Reason(logging.Filter):
    """Drops all lines, and keeps in `said` what the first one said since that was None."""

    def __init__(self) -> None:
        super().__init__()
        self.said: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        self.said = self.said or record.getMessage()
        return False


class _Once(logging.Filter):
    """Lets each line pass once: that the queue is full comes with every span."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        is_new = record.msg not in self._seen
        self._seen.add(record.msg)
        return is_new


_REASON, _ONCE = _Reason(), _Once()
