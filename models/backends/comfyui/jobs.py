"""One job at one server: it is submitted, looked after, repeated where it was lost, collected and cancelled.

A request for n images of a workflow without a batch field is n submissions, each on its own. A job can be lost between
any two requests: the reply to the submission, the whole queue in a restart, an image's file. Each is noticed and
repaired once; how often a graph was submitted stands in the state.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from models.backends.base import Running
from models.backends.comfyui.client import ComfyUIClient
from models.backends.comfyui.events import queued
from models.backends.comfyui.failures import (
    FAILED,
    Choices,
    ParameterNames,
    deleted_file,
    dropped_outputs,
    failed_run,
    refusal,
)
from models.backends.comfyui.results import DeletedFileError, fetched_images
from models.backends.comfyui.state import Change, JobState, Submission, changed, renamed
from models.backends.comfyui.wire import Accepted, ExtraData, HistoryEntry, PromptRequest, Refused
from models.backends.errors import ImageError, ServerUnavailable, redact
from models.backends.partial import Partial
from models.clock import Clock, Deadline

LOOK_SECONDS = 30.0
FETCH_SECONDS = 120.0
# Together the two stay within the ten seconds that the host leaves after the longest job of one call.
LAST_FETCH_SECONDS = 5.0
CANCEL_SECONDS = 4.0
GRACE = 0.5  # seconds between two looks: on its way from the queue to the history a job is in neither for a moment
MAX_TRIES = 2


@dataclass
class JobTracker:
    """Submits a job, looks after it and collects what it made.

    `choices` and `parameters` are for messages about a refused graph; `secrets` tells what belongs into the graph and
    must not stand in the job's state; `workflow` is the editor's graph to write into the images, None to write none.
    """

    client: ComfyUIClient
    clock: Clock
    choices: Choices
    parameters: ParameterNames = field(default_factory=dict)
    secrets: Callable[[], list[Change]] = list
    workflow: JsonValue = None
    at_work: bool = field(default=False, init=False)
    """Whether the last look at the queue found the job running."""
    _seen: Running = field(default_factory=Running, init=False)
    _entries: dict[str, HistoryEntry] = field(default_factory=dict, init=False)

    @property
    def ended(self) -> set[str]:
        """The ids that were found in the history."""
        return set(self._entries)

    # Submitting

    def submit(self, state: JobState, deadline: Deadline) -> None:
        """Queue every submission. Raises ImageError; then nothing of the job is left waiting."""
        try:
            for submission in state.submissions:
                self._submit(state, submission, deadline)
        except ImageError:
            self._cancel_rest(state)
            raise

    def _submit(self, state: JobState, submission: Submission, deadline: Deadline) -> None:
        graph = changed(state.graph_of(submission), self.secrets())
        request = PromptRequest(
            prompt=dict(graph),
            prompt_id=submission.prompt_id,
            client_id=state.client_id,
            extra_data=ExtraData(extra_pnginfo={"workflow": self.workflow} if self.workflow is not None else None),
        )
        reply = self._submitted_once(request, deadline)
        if isinstance(reply, Refused):
            raise self._redacted(refusal(reply, graph, self.choices, self.parameters))
        state.tell(*(self._hidden(notice) for notice in dropped_outputs(reply, graph)))

    def _submitted_once(self, request: PromptRequest, deadline: Deadline) -> Accepted | Refused:
        """Submit; when the reply is lost, look whether the job arrived before it is sent again under the same id."""
        try:
            return self.client.submit(request, deadline=deadline)
        except ImageError as error:
            if not error.transient:
                raise
            try:
                arrived = self._is_known(request.prompt_id)
            except ImageError:
                raise error from None
        return Accepted(prompt_id=request.prompt_id) if arrived else self.client.submit(request, deadline=deadline)

    def _is_known(self, prompt_id: str) -> bool:
        """Whether the server has the job; asked twice, because a request may outlive its connection for a moment."""
        return self._place(prompt_id) is not None or self._later_place(prompt_id) is not None

    # Looking

    def look(self, state: JobState, *, places: bool) -> Running | Partial:
        """See what became of the job. `places` also asks the queue, which tells the place and notices a lost submission.

        The first failure ends the job: what waits is cancelled, what is finished is returned with the failure.
        Transient trouble is raised: the next look may see more.
        """
        self._read_history(state)
        waiting = [one for one in state.submissions if one.prompt_id not in self._entries]
        failed = any(self._entries[name].failed for name in state.ids if name in self._entries)
        if failed and waiting:
            self._cancel_rest(state)
        if failed or not waiting:
            return self._collected(state)
        if not places:
            return self._seen
        try:
            self._seen = self._placed(state, waiting)
        except ImageError as error:
            if error.transient:
                raise
            return self._ended_by(error, state)
        return self._seen

    def _ended_by(self, error: ImageError, state: JobState) -> Running | Partial:
        """What is finished of a job of which a submission is lost for good."""
        self._cancel_rest(state)
        collected = self._collected(state)
        return collected if isinstance(collected, Running) else collected + Partial(failures=(error,))

    def _read_history(self, state: JobState) -> None:
        for prompt_id in state.ids:
            if prompt_id not in self._entries:
                entry = self.client.entry(prompt_id, deadline=self._within(LOOK_SECONDS))
                if entry is not None:
                    self._entries[prompt_id] = entry

    def _placed(self, state: JobState, waiting: Sequence[Submission]) -> Running:
        queue = self.client.queue(deadline=self._within(LOOK_SECONDS))
        places = [queue.place(one.prompt_id) for one in waiting]
        found = [
            self._place_of_missing(state, one) if place is None else place
            for one, place in zip(waiting, places, strict=True)
        ]
        first = next((place for place in found if place is not None), None)
        self.at_work = first == 0
        return Running(queued(first) if first else "running")

    def _place_of_missing(self, state: JobState, submission: Submission) -> int | None:
        """A second look at a submission that was neither finished nor waiting; when it is still nowhere, it is lost."""
        place = self._later_place(submission.prompt_id)
        if place is None:
            self._repeat_lost(state, submission)
        return place

    def _place(self, prompt_id: str) -> int | None:
        """0 for running or finished, else the place in the queue; None when the server does not know the job.

        The queue is asked first: a job only ever moves from there to the history, so it cannot slip through in between.
        """
        place = self.client.queue(deadline=self._within(LOOK_SECONDS)).place(prompt_id)
        if place is not None:
            return place
        return None if self.client.entry(prompt_id, deadline=self._within(LOOK_SECONDS)) is None else 0

    def _later_place(self, prompt_id: str) -> int | None:
        self.clock.sleep(GRACE)
        return self._place(prompt_id)

    # Repeating

    def _repeat_lost(self, state: JobState, submission: Submission) -> None:
        """Submit a lost graph again under its id: a process that does not know of this finds it all the same."""
        if submission.tries >= MAX_TRIES:
            raise ServerUnavailable(
                FAILED,
                "the job disappeared from the server's queue twice",
                "Look whether the server keeps restarting (its log tells why), or whether somebody clears its queue",
            )
        submission.tries += 1
        state.tell(
            "The job disappeared from the server's queue (restarted, or cleared by somebody) and was submitted again"
        )
        self._submit(state, submission, self._within(FETCH_SECONDS))

    def _save_again(self, state: JobState, submission: Submission, gone: DeletedFileError) -> None:
        """The history names a file of an earlier, identical job that is gone: save it under another name."""
        fresh = str(uuid.uuid5(uuid.UUID(submission.prompt_id), "saved again"))
        changes = renamed(state.graph_of(submission), fresh[:8])
        if submission.tries >= MAX_TRIES or not changes:
            raise deleted_file(gone.filename)
        submission.prompt_id, submission.tries = fresh, submission.tries + 1
        submission.changes = (*submission.changes, *changes)
        state.tell(f"The server's cached image {gone.filename} was deleted there, so it was saved again")
        self._submit(state, submission, self._within(FETCH_SECONDS))

    # Collecting

    def _collected(self, state: JobState) -> Running | Partial:
        """The images and failures of every submission that ended. Transient trouble is raised."""
        parts: list[Partial] = []
        for submission in state.submissions:
            try:
                part = self._fetched(state, submission)
            except ImageError as error:
                if error.transient:
                    raise
                part = Partial(failures=(error,))
            if part is None:
                return Running("saving again")
            parts.append(part)
        return sum(parts, Partial())

    def _fetched(self, state: JobState, submission: Submission) -> Partial | None:
        """What one submission gave, None where a deleted image has to be saved again first."""
        try:
            return self._part(state, submission, self._within(FETCH_SECONDS))
        except DeletedFileError as gone:
            self._save_again(state, submission, gone)
            return None

    def finished(self, state: JobState) -> Partial:
        """The images that exist already of a job that is given up; trouble with one costs only that one."""
        deadline = self._within(LAST_FETCH_SECONDS)
        parts = Partial()
        for submission in state.submissions:
            try:
                if submission.prompt_id not in self._entries:
                    entry = self.client.entry(submission.prompt_id, deadline=deadline)
                    self._entries |= {submission.prompt_id: entry} if entry else {}
                parts += self._part(state, submission, deadline)
            except DeletedFileError as gone:
                parts += Partial(failures=(deleted_file(gone.filename),))
            except ImageError as error:
                parts += Partial(failures=(error,))
        return parts

    def _part(self, state: JobState, submission: Submission, deadline: Deadline) -> Partial:
        """What one submission gave: its images, its failure, or nothing as long as it has not ended."""
        entry = self._entries.get(submission.prompt_id)
        if entry is None:
            return Partial()
        graph = state.graph_of(submission)
        if entry.failed:
            return Partial(failures=(self._redacted(failed_run(entry.status, graph)),))
        images, notices = fetched_images(
            self.client, entry, graph, seed=submission.seed, keep_workflow=state.keep_workflow, deadline=deadline
        )
        state.tell(*notices)
        return Partial(images)

    # Giving up

    def cancel(self, state: JobState) -> None:
        """Remove the job's own submissions from the queue, or stop them. Touches no other job. Raises ImageError."""
        deadline = self._within(CANCEL_SECONDS)
        left = [prompt_id for prompt_id in state.ids if prompt_id not in self._entries]
        left = [prompt_id for prompt_id in left if not self.client.cancel(prompt_id, deadline=deadline)]
        if not left:
            return
        self.client.remove_pending(left, deadline=deadline)
        queue = self.client.queue(deadline=deadline)
        for prompt_id in left:
            # Old servers ignore the id and stop whatever runs: only asked when it is ours.
            if queue.place(prompt_id) == 0:
                self.client.interrupt(prompt_id, deadline=deadline)

    def _cancel_rest(self, state: JobState) -> None:
        """Cancel what may be left of a job that has failed already: its own error is the one to report."""
        if len(state.submissions) > 1:
            try:
                self.cancel(state)
            except ImageError as trouble:
                state.tell(f"The other images of the request could not be cancelled: {trouble}")

    def _redacted(self, error: ImageError) -> ImageError:
        error.said = self._hidden(error.said)
        return error

    def _hidden(self, text: str) -> str:
        """Without the keys that the workflow itself holds: servers quote the values that they refuse."""
        return redact(text, [str(value) for _, _, value in self.secrets()])

    def _within(self, seconds: float) -> Deadline:
        return Deadline.after(self.clock, seconds)
