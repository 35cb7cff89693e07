"""An OpenTelemetry collector as far as its door: takes spans over OTLP (http/protobuf) on loopback, and keeps them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage


@dataclass(frozen=True)
class Span:
    """One span as it arrived."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    """Span ids."""
    attributes: dict[str, Any]
    seconds: float


class Receiver:
    """The spans so far, of all processes."""

    def __init__(self) -> None:
        self.url = ""
        self._arrived = threading.Condition()
        self._spans: list[Span] = []

    def add(self, request: ExportTraceServiceRequest) -> None:
        with self._arrived:
            for of_resource in request.resource_spans:
                resource = {found.key: found.value.string_value for found in of_resource.resource.attributes}
                for of_scope in of_resource.scope_spans:
                    self._spans += [_span(resource["service.name"], span) for span in of_scope.spans]
            self._arrived.notify_all()

    def spans(self, trace_id: str | None = None) -> list[Span]:
        """All spans, or those of one trace."""
        with self._arrived:
            return [span for span in self._spans if trace_id in {None, span.trace_id}]

    def of_trace(self, trace_id: str, *, names: set[str], within_seconds: float = 60) -> list[Span]:
        """The spans of a trace, once there is one of each of these names."""
        with self._arrived:
            self._arrived.wait_for(
                lambda: names <= {span.name for span in self._spans if span.trace_id == trace_id}, timeout=within_seconds
            )
            found = [span for span in self._spans if span.trace_id == trace_id]
        missing = names - {span.name for span in found}
        assert not missing, f"no span {missing} among {sorted(span.name for span in found)}"
        return found


def _span(service: str, span: SpanMessage) -> Span:
    return Span(
        service=service,
        name=span.name,
        kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        attributes={found.key: getattr(found.value, str(found.value.WhichOneof("value"))) for found in span.attributes},
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            receiver.add(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
