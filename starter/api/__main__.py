"""Serves the HTTP API alone, without a worker in its process: see :mod:`worker` for the one that has one."""

from __future__ import annotations

from infra.settings import Settings
from starter.api.serving import serve

if __name__ == "__main__":
    serve(Settings())
