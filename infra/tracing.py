"""OpenTelemetry traces of a process: off, for the price of one look at a variable, unless an OTLP endpoint is set. See decision 0020."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping, Sequence

    from opentelemetry.trace import Span, SpanContext, Tracer
    from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, ReplaySafeTracerProvider

    from infra.settings import Settings

_NOTHING: Final = nullcontext(None)
_PROPAGATOR: Final = TraceContextTextMapPropagator()
TRACEPARENT: Final = "traceparent"
"""W3C Trace Context's header, on HTTP requests and on Kafka's records."""


class _Tracing:
    """Whether this process is traced. It is one thing for the whole process, as OpenTelemetry's own provider is."""

    tracer: Tracer | None = None
    provider: ReplaySafeTracerProvider | None = None


def start_tracing(settings: Settings, *, service: str) -> None:
    """Send this process's spans to the OTLP endpoint of the settings (http/protobuf); without one nothing is traced.

    Called once, by the composition root, before anything connects. The exporter takes its other options (headers, time-outs, sampling)
    from the environment, as OpenTelemetry's specification names them.

    Args:
        settings: with the endpoint.
        service: `service.name` of the spans.
    """
    if not settings.otlp_endpoint:
        return
    # Only here: the exporter and the SDK take some hundred milliseconds to load, which a process that isn't traced doesn't pay.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from temporalio.contrib.opentelemetry import create_tracer_provider  # noqa: PLC0415

    # Replay-safe: a workflow that is replayed makes the same spans again, and they must neither be sent twice nor get other ids.
    provider = create_tracer_provider(resource=Resource.create({"service.name": service, "service.namespace": "casaflow"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _Tracing.provider, _Tracing.tracer = provider, provider.get_tracer("casaflow")


def provider() -> ReplaySafeTracerProvider | None:
    """Where spans of this process go; None when it isn't traced."""
    return _Tracing.provider


def temporal_plugins() -> list[OpenTelemetryPlugin]:
    """What a Temporal client needs so that a trace goes on in workflows and activities; nothing when the process isn't traced."""
    if _Tracing.provider is None:
        return []
    from temporalio.contrib.opentelemetry import OpenTelemetryPlugin  # noqa: PLC0415  as above

    return [OpenTelemetryPlugin(add_temporal_spans=True)]


def current_ids() -> tuple[str, str] | None:
    """Trace id and span id of what is being done, in hexadecimal; None when it isn't traced."""
    found = current_context()
    return None if found is None else (trace.format_trace_id(found.trace_id), trace.format_span_id(found.span_id))


def current_context() -> SpanContext | None:
    """What a later span may point at; None when what is being done isn't traced."""
    if _Tracing.tracer is None:
        return None
    found = trace.get_current_span().get_span_context()
    return found if found.is_valid else None


def span(name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, Any] | None = None) -> AbstractContextManager[object]:
    """A span around what is done inside it, where something of a trace is being done; its error is recorded by its type only.

    What the errors of a driver say may quote a statement with its parameters, which are customers' data.
    """
    if _Tracing.tracer is None or current_context() is None:
        return _NOTHING
    return _span(_Tracing.tracer, name, kind, attributes or {})


@contextmanager
def _span(tracer: Tracer, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Iterator[None]:
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield
        except Exception as error:
            opened.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


class Sending:
    """A record on its way to Kafka."""

    def __init__(self, opened: Span, carrier: Mapping[str, str]) -> None:
        self._opened = opened
        self.headers: Final = [(name, value.encode()) for name, value in carrier.items()]
        """To be added to the record's."""

    def ended(self, error: BaseException | None) -> None:
        """It has arrived, or it is not known to have."""
        if error is not None:
            self._opened.set_status(trace.StatusCode.ERROR, type(error).__name__)
        self._opened.end()


def sending(topic: str, *, event_id: str, key: str) -> Sending | None:
    """A span for a record that is handed to Kafka; None when what sends it isn't traced."""
    if _Tracing.tracer is None or current_context() is None:
        return None
    attributes = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": event_id,
        "messaging.kafka.message.key": key,
    }
    opened = _Tracing.tracer.start_span(f"send {topic}", kind=SpanKind.PRODUCER, attributes=attributes)
    carrier: MutableMapping[str, str] = {}
    _PROPAGATOR.inject(carrier, context=trace.set_span_in_context(opened, Context()))
    return Sending(opened, carrier)


def processing(group: str, topic: str, headers: Sequence[Sequence[tuple[str, bytes | None]]]) -> AbstractContextManager[object]:
    """Spans for records that a consumer group applies together, each with its headers.

    The batch has a span, with a link to each record that came with a trace; and in each of those traces a span stands for the record, with
    a link to the batch. So a trace goes from the request to the last consumer, and a batch shows all that went with it.
    """
    if _Tracing.tracer is None:
        return _NOTHING
    return _processing(_Tracing.tracer, group, topic, headers)


@contextmanager
def _processing(tracer: Tracer, group: str, topic: str, headers: Sequence[Sequence[tuple[str, bytes | None]]]) -> Iterator[None]:
    sent = [context for of_record in headers if (context := _sent(of_record)) is not None]
    attributes: dict[str, Any] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.consumer.group.name": group,
    }
    began = time.time_ns()
    batch = tracer.start_span(
        f"process {topic}",
        context=Context(),
        kind=SpanKind.CONSUMER,
        links=[Link(context) for context in sent],
        attributes={**attributes, "messaging.batch.message_count": len(headers)},
    )
    failure = ""
    try:
        with trace.use_span(batch, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield
    except Exception as error:
        failure = type(error).__name__
        raise
    finally:
        for context in sent:
            one = in_trace_of(
                context, f"process {topic}", kind=SpanKind.CONSUMER, began=began, links=[batch.get_span_context()], attributes=attributes
            )
            if failure:
                one.set_status(trace.StatusCode.ERROR, failure)
            one.end()


def _sent(headers: Sequence[tuple[str, bytes | None]]) -> SpanContext | None:
    value = next((value for name, value in headers if name == TRACEPARENT and value is not None), None)
    if value is None:
        return None
    # A header that is no trace context is somebody else's business: then there is simply no trace to go on with.
    found = trace.get_current_span(_PROPAGATOR.extract({TRACEPARENT: value.decode("ascii", "replace")}, Context())).get_span_context()
    return found if found.is_valid else None


def batch_span(name: str, traces: Sequence[SpanContext], attributes: Mapping[str, Any]) -> Span | None:
    """A span of its own trace for work that is done for several traces at once, linked to each; None when the process isn't traced."""
    if _Tracing.tracer is None:
        return None
    return _Tracing.tracer.start_span(name, context=Context(), links=[Link(context) for context in traces], attributes=attributes)


def in_trace_of(
    parent: SpanContext,
    name: str,
    *,
    kind: SpanKind,
    began: int,
    links: Sequence[SpanContext],
    attributes: Mapping[str, Any],
) -> Span:
    """A span below `parent` that began at `began` (nanoseconds since 1970); the caller ends it."""
    tracer = _Tracing.tracer or trace.NoOpTracer()
    return tracer.start_span(
        name,
        context=trace.set_span_in_context(NonRecordingSpan(parent), Context()),
        kind=kind,
        start_time=began,
        links=[Link(context) for context in links],
        attributes=attributes,
    )
