"""One cluster for all tests of this folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, running_cluster
from tests.cluster.namespace import Namespace


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster(_say) as running:
        yield running


@pytest.fixture(scope="session")
def apart(cluster: Cluster) -> Namespace | None:
    """The namespace that worker-2 runs in; None where none can be made."""
    return cluster.apart


@pytest.fixture
def report_file(tmp_path: Path) -> Path:
    """``CASAFLOW_CLUSTER_REPORT`` says where the report for programs goes."""
    return Path(os.environ.get("CASAFLOW_CLUSTER_REPORT") or tmp_path / "cluster-report.json")
