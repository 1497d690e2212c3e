"""Spans of requests and of the stages of their images, where OpenTelemetry is switched on.

Its own variables switch it on. Without them nothing of it is imported, and all of this does
nothing. A span is in the context of its request, so it is the parent of what is done for that
request on any thread.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from grounded_labeler.errors import GroundedLabelerError, PromptError, SettingsError
from grounded_labeler.request_context import RequestContext, current, entered

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from grounded_labeler.trace_export import Recorder

Fact = str | int | float | bool | None

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_PACKAGES = {"opentelemetry", "google"}
_OURS = "grounded_labeler."  # begins the names of attributes that OpenTelemetry has none for
_STOP_S = 5.0

_recorder: "Recorder | None" = None  # of this process


def check_tracing(environ: Mapping[str, str]) -> None:
    """Raise SettingsError where traces are wanted and cannot be made or sent.

    Opens no connection, and starts no thread.
    """
    if not is_wanted(environ):
        return
    variable, address = _first_set(environ, _ENDPOINTS)
    try:
        is_address = urlsplit(address).scheme in ("http", "https") and urlsplit(address).hostname
    except ValueError:
        is_address = False
    if not is_address:
        raise SettingsError(
            f"{variable} is no address of a collector: set it to one as http://collector:4318."
        )
    variable, protocol = _first_set(environ, _PROTOCOLS)
    if protocol not in ("", _PROTOCOL):
        raise SettingsError(
            f"{variable}={protocol}: this service sends traces as {_PROTOCOL} only. Leave the "
            "variable, and name the port of the collector for it, 4318 most often."
        )
    try:
        from grounded_labeler import trace_export  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise SettingsError(
            "Traces are switched on, and the packages that send them are not installed: install "
            f"the extra grounded-labeler[otel], or leave {_first_set(environ, _ENDPOINTS)[0]}."
        ) from None
    except ValueError as error:  # of OTEL_PROPAGATORS, which are looked up at import
        raise SettingsError(f"Traces cannot be made: {error}") from None


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the variables of OpenTelemetry switch traces on."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return bool(_first_set(environ, _ENDPOINTS)[1]) and not is_off and exporter != "none"


def start_tracing(version: str, *, shows_prompts: bool) -> None:
    """Make spans in this process from now on, where that is wanted: after it was forked.

    Args:
        version: that of this program.
        shows_prompts: whether what people type may be in the spans.
    """
    global _recorder  # noqa: PLW0603 - a process has one, as it has one log
    if is_wanted(os.environ):
        from grounded_labeler.trace_export import Recorder  # noqa: PLC0415 - an extra

        _recorder = Recorder(version, shows_prompts=shows_prompts)


def stop_tracing() -> None:
    """Send the last spans, for a few seconds at most: nobody must wait for a collector."""
    if _recorder is not None:
        _recorder.stop(_STOP_S)


def begin_request(method: str, headers: Callable[[], Mapping[str, str]]) -> "Span | None":
    """Return the span of a request, which goes on the trace that its headers name.

    None where there are no traces, and then nobody asks for `headers`. It is sent only if it is
    ended.
    """
    return None if _recorder is None else _recorder.request(method, headers())


@contextmanager
def span(name: str, **facts: Fact) -> Iterator[None]:
    """Have the block be a span below that of this thread, if it has one.

    An error that leaves the block is the span's status.
    """
    context, recorder = current(), _recorder
    if recorder is None or context.span is None:
        yield
        return
    own = recorder.child(context.span, name)
    with entered(replace(context, span=own)):
        note(**facts)
        try:
            yield
        except BaseException as error:
            note_error(error)
            raise
        finally:
            own.end()


def add_span(name: str, start_ns: int, seconds: float, **facts: Fact) -> None:
    """Add what has ended already to the span of this thread, as a span below it.

    `start_ns` is when it began, in nanoseconds since 1970.
    """
    context, recorder = current(), _recorder
    if recorder is None or context.span is None:
        return
    own = recorder.child(context.span, name, start_ns)
    with entered(RequestContext(span=own)):
        note(**facts)
    own.end(start_ns + round(seconds * 1e9))


def note(**facts: Fact) -> None:
    """Note facts on the span of this thread; those that are None are left out."""
    own = current().span
    if own is not None and own.is_recording():
        for name, fact in facts.items():
            if fact is not None:
                own.set_attribute(_OURS + name, _clean(fact) if isinstance(fact, str) else fact)


def shown_prompt(text: str | None) -> str | None:
    """Return what somebody typed, where spans may have it, and None elsewhere."""
    return text if _recorder is not None and _recorder.shows_prompts else None


def note_error(error: BaseException, *, is_fault: bool = True) -> None:
    """Note an error on the span of this thread; it is its status unless somebody else `is_fault`.

    Of errors that nobody expected there is only the kind: what they say may be of anybody.
    """
    own, recorder = current().span, _recorder
    if recorder is None or own is None:
        return
    if isinstance(error, PromptError) and not recorder.shows_prompts:
        sentence = error.without_citation
    elif isinstance(error, GroundedLabelerError):
        sentence = str(error)
    else:
        sentence = f"{type(error).__name__}: the log says more."
    recorder.fail(own, type(error).__name__, _clean(sentence), is_fault=is_fault)


def note_fault(kind: str) -> None:
    """Note that what the span of this thread is of failed, if no error was noted that says how."""
    own, recorder = current().span, _recorder
    if recorder is not None and own is not None:
        recorder.note_fault(own, kind)


def _clean(text: str) -> str:
    """Replace halves of characters, which JSON may have: a batch with one could not be sent."""
    return text.encode("utf-8", "replace").decode()


def _first_set(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The first of `names` that has a value, and the value; of none the last, and nothing."""
    for name in names:
        if value := environ.get(name, "").strip():
            return name, value
    return names[-1], ""
