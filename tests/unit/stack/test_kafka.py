"""What the stack tells Kafka's tools."""

from __future__ import annotations

import uuid

import pytest

from infra.stack import kafka


def test_a_cluster_id_never_begins_with_a_hyphen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's tools take one that does for an option: one first start in 64 failed."""
    drawn = iter([uuid.UUID(bytes=b"\xf8" + bytes(15)), uuid.UUID(bytes=bytes(16))])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert kafka.new_cluster_id() == "A" * 22
