"""The story of one payment file: validated, posted a part at a time, paused and resumed in between. See decision record 0032."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow

from activities.payment_files import FilePart, PaymentFileActivities
from ledger.payment_files import FileKey, FileProgress, FileStatus, files_queue
from workflows import policies, visibility

PARTS_OF_A_RUN: Final = 100
"""Then the workflow continues as a new run, so that its history stays short however long the file is."""
LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)
"""A paused file is looked at without being told to, since what tells may get lost. Costs three events of history."""


# It may stand paused for days, so it goes on with each new version of the workers, and its code changes by `workflow.patched` only.
@workflow.defn
class PaymentFileWorkflow:
    """Carries a file to its end. How far it is stands in the ledger, with the lines; this only goes on with it.

    Nothing that reaches this workflow decides anything: who pauses, resumes or cancels a file says so in the ledger, through the API,
    and a signal only has this look there.
    """

    def __init__(self) -> None:
        self._progress = FileProgress(status=FileStatus.VALIDATING)
        self._told = False

    @workflow.run
    async def run(self, key: FileKey) -> FileProgress:
        """Validate the file, and post its lines until each has its outcome."""
        self._show(
            await workflow.execute_activity_method(
                PaymentFileActivities.validate,
                key,
                task_queue=files_queue(workflow.info().task_queue),
                start_to_close_timeout=policies.FILE_ATTEMPT,
                heartbeat_timeout=policies.FILE_HEARTBEAT,
                retry_policy=policies.FILE_RETRY,
                summary="validate the whole file",
            )
        )
        for _ in range(PARTS_OF_A_RUN):
            if self._progress.final:
                return self._progress
            if self._progress.paused:
                await self._until_told()
            # What is told from here on may come after the activity's last look, and asks for another one.
            self._told = False
            self._show(
                await workflow.execute_activity_method(
                    PaymentFileActivities.post,
                    FilePart(key=key),
                    task_queue=files_queue(workflow.info().task_queue),
                    start_to_close_timeout=policies.FILE_ATTEMPT,
                    heartbeat_timeout=policies.FILE_HEARTBEAT,
                    retry_policy=policies.FILE_RETRY,
                    summary=f"post lines from {self._progress.completed + self._progress.rejected + 1} on",
                )
            )
        if not self._progress.final:
            workflow.continue_as_new(key)
        return self._progress

    async def _until_told(self) -> None:
        try:
            await workflow.wait_condition(lambda: self._told, timeout=LOOK_AGAIN_AFTER)
        except TimeoutError:
            workflow.logger.debug("nobody told of a change; looking all the same")

    @workflow.signal(description="Look into the ledger: somebody has resumed or cancelled the file there. Changes nothing by itself.")
    def look_again(self) -> None:
        """Look how the file stands."""
        self._told = True

    @workflow.query(description="How far the file was after its last part.")
    def current(self) -> FileProgress:
        """The progress as this workflow last saw it."""
        return self._progress

    def _show(self, progress: FileProgress) -> None:
        self._progress = progress
        workflow.upsert_search_attributes(visibility.attributes_of_file(progress))
        workflow.set_current_details(visibility.file_details(progress))
