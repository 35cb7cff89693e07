"""The workflow of a payment file: validated, posted a part at a time, paused until it is told, continued as a new run."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.payment_files import FilePart, PaymentFileActivities
from ledger.errors import NotFoundError, UnavailableError
from ledger.ids import file_workflow_id
from ledger.payment_files import FileKey, FileProgress, FileStatus, files_queue
from tests.workflow.conftest import eventually
from workflows import payment_file
from workflows.payment_file import PaymentFileWorkflow
from workflows.runner import workflow_runner


class FakeFiles:
    """A file of so many lines, in memory."""

    def __init__(self, lines: int, *, part: int = 10) -> None:
        self.lines = lines
        self.part = part
        self.status = FileStatus.VALIDATING
        self.completed = 0
        self.paused = False
        self.validations = self.posts = 0
        self.faults: list[Exception] = []

    async def validate(self, key: FileKey, *, beat: Callable[[int], None]) -> FileProgress:  # noqa: ARG002  one file only
        self.validations += 1
        beat(self.lines)
        if self.status is FileStatus.VALIDATING:
            self.status = FileStatus.POSTING
        return self._progress()

    async def post_some(self, key: FileKey, *, at_most: int, beat: Callable[[int], None]) -> FileProgress:  # noqa: ARG002  as above
        self.posts += 1
        if self.faults:
            raise self.faults.pop(0)
        if not self.paused and self.status is FileStatus.POSTING:
            self.completed = min(self.lines, self.completed + self.part)
            beat(self.completed)
            if self.completed == self.lines:
                self.status = FileStatus.COMPLETED
        return self._progress()

    def _progress(self) -> FileProgress:
        return FileProgress(status=self.status, paused=self.paused, lines=self.lines, completed=self.completed)


async def _started(environment: WorkflowEnvironment, queue: str) -> WorkflowHandle[Any, FileProgress]:
    key = FileKey(tenant="t", file_id=str(uuid.uuid4()))
    identifier = file_workflow_id(key.tenant, key.file_id)
    return await environment.client.start_workflow(PaymentFileWorkflow.run, key, id=identifier, task_queue=queue)


@asynccontextmanager
async def _worker(environment: WorkflowEnvironment, files: FakeFiles, queue: str) -> AsyncIterator[None]:
    activities = PaymentFileActivities(files, files)
    client = environment.client
    async with (
        Worker(client, task_queue=queue, workflows=[PaymentFileWorkflow], workflow_runner=workflow_runner()),
        Worker(client, task_queue=files_queue(queue), activities=[activities.validate, activities.post]),
    ):
        yield


async def _is_paused(handle: WorkflowHandle[Any, FileProgress]) -> bool:
    return (await handle.query(PaymentFileWorkflow.current)).paused


async def test_file_is_validated_then_posted_part_by_part_and_a_failed_part_goes_again(environment: WorkflowEnvironment) -> None:
    files, queue = FakeFiles(35), f"files-{uuid.uuid4()}"
    files.faults = [UnavailableError(part="postgres", detail="away")]
    async with _worker(environment, files, queue):
        result = await (await _started(environment, queue)).result()
    assert (result.status, result.completed, files.validations, files.posts) == (FileStatus.COMPLETED, 35, 1, 5)


async def test_long_file_continues_as_a_new_run(environment: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment_file, "PARTS_OF_A_RUN", 2)
    files, queue = FakeFiles(50), f"files-{uuid.uuid4()}"
    async with _worker(environment, files, queue):
        handle = await _started(environment, queue)
        assert (await handle.result()).completed == 50
        newest = await environment.client.get_workflow_handle(handle.id).describe()
    assert newest.run_id != handle.first_execution_run_id
    assert (files.validations, files.posts) == (3, 5)


async def test_paused_file_waits_until_it_is_told_to_look(environment: WorkflowEnvironment) -> None:
    files, queue = FakeFiles(20), f"files-{uuid.uuid4()}"
    files.paused = True
    async with _worker(environment, files, queue):
        handle = await _started(environment, queue)
        await eventually(partial(_is_paused, handle))
        looked = files.posts
        files.paused = False
        await handle.signal(PaymentFileWorkflow.look_again)
        assert (await handle.result()).completed == 20
    assert (looked, files.posts) == (0, 2)


async def test_lost_signal_only_costs_time(environment: WorkflowEnvironment) -> None:
    files, queue = FakeFiles(10), f"files-{uuid.uuid4()}"
    files.paused = True
    async with _worker(environment, files, queue):
        handle = await _started(environment, queue)
        await eventually(partial(_is_paused, handle))
        files.paused = False
        assert (await handle.result()).completed == 10  # the server skips the ten minutes


def test_part_of_a_file_is_what_a_history_can_hold() -> None:
    part = FilePart(key=FileKey(tenant="t", file_id="f"))
    assert len(part.model_dump_json()) < 200


async def test_file_that_is_not_there_fails_at_once(environment: WorkflowEnvironment) -> None:
    class Nothing(FakeFiles):
        async def validate(self, key: FileKey, *, beat: Callable[[int], None]) -> FileProgress:  # noqa: ARG002  there is none
            self.validations += 1
            raise NotFoundError(kind="file", identifier=key.file_id)

    files, queue = Nothing(1), f"files-{uuid.uuid4()}"
    async with _worker(environment, files, queue):
        handle = await _started(environment, queue)
        with pytest.raises(Exception, match="Workflow execution failed"):
            await handle.result()
    assert files.validations == 1
