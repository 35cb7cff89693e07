"""How workflow code is run: in Temporal's sandbox, which stops it from reading clocks, files or randomness of its own."""

from __future__ import annotations

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions


def workflow_runner() -> SandboxedWorkflowRunner:
    """The runner that every worker and every replay uses.

    What is passed through is loaded once per process instead of once per workflow. All of it is pure (`ledger`, the policies),
    or only named for typed calls (`activities`); the workflow modules themselves are loaded afresh, under restrictions.
    """
    passed_through = (
        "ledger",
        "activities",
        "pydantic",
        "structlog",
        "workflows.policies",
        "workflows.authority",
        "workflows.visibility",
        "workflows.services",
    )
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*passed_through))
