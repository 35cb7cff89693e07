"""What the stack tells Kafka's tools."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid

import pytest

from infra.stack import kafka


def test_a_cluster_id_never_begins_with_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's tools take one that does for an option: one first start in 64 failed."""
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=bytes(16))])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert kafka.new_cluster_id() == "A" * 22


async def test_a_broker_is_ready_only_once_it_listens_itself() -> None:
    """Another stack's may have taken the port meanwhile: the events of two ledgers would come together on its topics."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        async with asyncio.timeout(10):
            await kafka.wait_until_ready(os.getpid(), address)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await kafka.wait_until_ready(os.getppid(), address)
