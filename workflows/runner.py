"""How workflow code is run: as ordinary code of the process, outside of Temporal's sandbox. See docs/decisions/0017."""

from __future__ import annotations

from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner


def workflow_runner() -> WorkflowRunner:
    """The runner that every worker and every replay uses.

    The sandbox loads the workflow's modules afresh for each workflow, and watches every access to what it restricts. What it would catch
    is caught before anything runs: a test reads the code of `workflows` for clocks, randomness and input or output, and real
    histories are replayed.
    """
    return UnsandboxedWorkflowRunner()
