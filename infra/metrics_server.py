"""``/metrics`` of a process that serves nothing else: a worker, a relay, or members of consumer groups."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import structlog
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.settings import MetricsAddress

_log = structlog.get_logger(__name__)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: MetricsAddress, also: Callable[[], bytes]) -> None:
        super().__init__(address, _Handler)
        self.also = also


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] == "/metrics"
        body = generate_latest(REGISTRY) + self.server.also() if found else b"not found: see /metrics\n"
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4 if found else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


@contextmanager
def served_metrics(address: MetricsAddress | None, *, also: Callable[[], bytes] = bytes) -> Iterator[int | None]:
    """Serve this process's metrics at ``/metrics`` while this is open; without an address nothing is served.

    In a thread of its own, so that a process that is too busy to do anything else still says so.

    Args:
        address: where.
        also: further metrics in Prometheus' text format, asked for at each scrape: those of Temporal's SDK.

    Yields:
        The port; the one that was free, where the address asks for port 0.

    Raises:
        UnavailableError: the address can't be had.
    """
    if address is None:
        yield None
        return
    try:
        server = _Server(address, also)
    except OSError as error:
        raise UnavailableError(part="metrics", detail=f"{address.host}:{address.port}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    port = int(server.server_address[1])
    _log.info("metrics.served", host=address.host, port=port)
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
