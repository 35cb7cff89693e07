"""Workers without versions have to be able to carry every workflow: that is how an installation starts out."""

from __future__ import annotations

import pytest
from temporalio import workflow
from temporalio.common import VersioningBehavior

from workflows.hold import HoldWorkflow
from workflows.standing_order import StandingOrderWorkflow
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow


@pytest.mark.parametrize("carried", [TransactionWorkflow, HoldWorkflow, StandingOrderWorkflow, SweepWorkflow])
def test_no_workflow_names_a_versioning_behaviour_since_the_server_refuses_that_of_workers_without_versions(carried: type) -> None:
    definition = workflow._Definition.must_from_class(carried)
    assert definition.versioning_behavior in {None, VersioningBehavior.UNSPECIFIED}
