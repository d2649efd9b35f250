"""One job at one server: submit, poll, resubmit if it was lost, fetch its images, cancel.

A request for n images of a workflow without a batch field becomes n submissions. The reply to a submission, the queue
(in a restart) or an image's file can be lost; each is detected and repaired once, and the state counts the tries.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from models.backends.base import Running
from models.backends.comfyui.client import Accepted, ComfyUIClient, FileRef, HistoryEntry, PromptRequest, Queue, Refused
from models.backends.comfyui.results import (
    FAILED,
    Choices,
    DeletedFileError,
    ParameterNames,
    black_images,
    dropped_outputs,
    failed_run,
    read_outputs,
    refusal,
    without_workflow,
)
from models.backends.comfyui.state import Change, JobState, Submission, changed, renamed
from models.backends.errors import BadRequest, ImageError, RateLimited, ServerUnavailable, redact
from models.backends.partial import Partial
from models.backends.questions import answered
from models.backends.trail import note_queued
from models.clock import Clock, Deadline
from models.entities import GeneratedImage

REQUEST_SECONDS = 30.0
FETCH_SECONDS = 120.0
LAST_FETCH_SECONDS = 5.0
CANCEL_SECONDS = 4.0
ARRIVAL_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)  # pauses between looks for a submission that was not answered
QUEUE_SECONDS = 5.0  # seconds between polls of the queue, whose reply holds every waiting graph
MAX_TRIES = 2


@dataclass
class JobTracker:
    """Submits and polls a job and fetches its images; `state` is kept up to date.

    `within` and `look` give the deadlines of a request and of a look at the job. `choices` and `parameters` are for
    messages about a refused graph; `secrets` returns the keys that belong in the graph but not in the state, and
    `account_key` pays for partner nodes; `workflow` is the editor's graph to embed in the images, None for none.
    """

    state: JobState
    client: ComfyUIClient
    clock: Clock
    within: Callable[[float], Deadline]
    look: Callable[[], Deadline]
    choices: Choices
    parameters: ParameterNames
    secrets: Callable[[], list[Change]]
    account_key: str
    workflow: JsonValue
    queue_polled: float | None = field(default=None, init=False)  # on the clock
    place: int | None = field(default=None, init=False)  # at the last poll of the queue; 0: running
    seen: Running = field(default_factory=Running, init=False)  # the last known state
    entries: dict[str, HistoryEntry] = field(default_factory=dict, init=False)  # of the history, by prompt id

    def submit(self, deadline: Deadline) -> None:
        """Queue every submission. If one fails the others are cancelled. Raises ImageError."""
        try:
            for submission in self.state.submissions:
                self._submit(submission, deadline)
        except ImageError as error:
            error.undone = error.undone and submission is self.state.submissions[0]
            self._cancel_rest()
            raise

    def _submit(self, submission: Submission, deadline: Deadline) -> None:
        graph = changed(self.state.graph_of(submission), self.secrets())
        extra: dict[str, JsonValue] = {"extra_pnginfo": {"workflow": self.workflow}} if self.workflow else {}
        if self.account_key:
            extra["api_key_comfy_org"] = self.account_key
        request = PromptRequest(
            prompt=dict(graph),
            prompt_id=submission.prompt_id,
            client_id=self.state.client_id,
            extra_data={**extra, "preview_method": "none"},
            front=self.state.front or None,
        )
        reply = self._submitted_once(request, deadline)
        if isinstance(reply, Refused):
            refused = self._redacted(refusal(reply, graph, self.choices, self.parameters))
            refused.undone = True
            raise refused
        self.state.add_notices(*(self._hidden(notice) for notice in dropped_outputs(reply, graph)))

    def _submitted_once(self, request: PromptRequest, deadline: Deadline) -> Accepted | Refused:
        """Submit; if the reply is lost, look for the job, and send it again only if it surely was not queued.

        The server does not check ids, so that the same job sent twice runs twice. It handles one request after another,
        so that a request whose connection has ended is in the queue or in the history by the second look, or nowhere
        (reference: "POST /prompt", "Queue"). A request that is still unanswered may wait in a proxy and arrive later.
        """
        try:
            return self.client.submit(request, deadline=deadline)
        except ImageError as error:
            if not error.transient or isinstance(error, RateLimited):
                raise
            lost = error
        try:
            if self._arrived(request.prompt_id, ARRIVAL_SECONDS if lost.in_flight else ARRIVAL_SECONDS[:2]):
                return Accepted(prompt_id=request.prompt_id)
        except ImageError:
            raise lost from None
        if lost.in_flight:
            raise lost
        return self.client.submit(request, deadline=deadline)

    def _arrived(self, prompt_id: str, pauses: Sequence[float]) -> bool:
        for pause in pauses:
            self.clock.sleep(pause)
            if self._place(prompt_id, self.within(REQUEST_SECONDS)) is not None:
                return True
        return False

    def poll(self) -> Running | Partial:
        """Poll the job. The queue, which shows its place and whether a submission is lost, is polled less often.

        The first failure ends the job: waiting submissions are cancelled, finished images are returned with the
        failure. Transient errors are raised: the next poll may succeed.
        """
        look = self.look()
        waiting = [one for one in self.state.submissions if self._entry(one.prompt_id, look) is None]
        if waiting and not self._failed and self._queue_due():
            try:
                self._find(waiting, look)
            except ImageError as error:
                if error.transient:
                    raise
                self._cancel_rest()
                finished = self._collected()
                return finished if isinstance(finished, Running) else finished + Partial(failures=(error,))
        if self._failed:
            self._cancel_rest()
        return self.seen if waiting and not self._failed else self._collected()

    @property
    def _failed(self) -> bool:
        return any(self.entries[name].failed for name in self.state.ids if name in self.entries)

    def _entry(self, prompt_id: str, deadline: Deadline) -> HistoryEntry | None:
        """The finished job, None if it has not ended; an end is read once."""
        if prompt_id not in self.entries:
            service, question = self.client.service, f"history {prompt_id}"
            entry = answered(service, question, lambda until: self.client.entry(prompt_id, deadline=until), deadline)
            if entry is None:
                return None
            self.entries[prompt_id] = entry
        return self.entries[prompt_id]

    def _queue(self, prompt_id: str, deadline: Deadline) -> Queue:
        """The queue as this job's own question: an answer to another job's may be older than this job."""
        service, question = self.client.service, f"queue {prompt_id}"
        return answered(service, question, lambda until: self.client.queue(deadline=until), deadline)

    def _queue_due(self) -> bool:
        now = self.clock.now()
        due = self.queue_polled is None or now - self.queue_polled >= QUEUE_SECONDS
        self.queue_polled = now if due else self.queue_polled
        return due

    def _find(self, waiting: Sequence[Submission], look: Deadline) -> None:
        """Note the place of the first submission that waits, and submit lost ones again.

        A submission may have moved from the queue to the history between the two questions: it counts as lost only when
        the next look does not find it either.
        """
        queue, found = self._queue(waiting[0].prompt_id, look), []
        for submission in waiting:
            place = queue.place(submission.prompt_id)
            if place is not None:
                found.append(place)
            elif submission.missing:
                self._repeat_lost(submission)
            submission.missing = place is None and not submission.missing
        self.place = next(iter(found), None)
        if self.place:
            note_queued(self.clock)
        self.seen = Running(queued(self.place) if self.place else "running")
        if any(submission.missing for submission in waiting):
            self.queue_polled = None

    def _place(self, prompt_id: str, look: Deadline) -> int | None:
        """0 for running or finished, else the place in the queue; None when the server does not know the job.

        The queue is read first: a job only moves from there to the history, so it cannot be missed in between.
        """
        place = self._queue(prompt_id, look).place(prompt_id)
        if place is not None:
            return place
        return None if self._entry(prompt_id, look) is None else 0

    def _repeat_lost(self, submission: Submission) -> None:
        """Resubmit a lost graph under the same id, so that other processes find it too."""
        if submission.tries >= MAX_TRIES:
            raise ServerUnavailable(
                FAILED,
                "the job disappeared from the server's queue twice",
                "Check in the server's log whether it keeps restarting, and whether its queue is cleared by another user",
            )
        submission.tries += 1
        self.state.add_notices(
            "The job disappeared from the server's queue (after a restart, or because it was cleared) and was submitted again"
        )
        try:
            self._submit(submission, self.within(FETCH_SECONDS))
        except BadRequest as refused:  # it was valid before; its input images may be gone with the server
            said = f"the server lost the job and refused to take it again ({refused.said})"
            raise ServerUnavailable(FAILED, said, "Run it again") from None

    def _save_again(self, submission: Submission, gone: DeletedFileError) -> None:
        """Resubmit under another file name: the history names a deleted file of an earlier, identical job."""
        fresh = str(uuid.uuid5(uuid.UUID(submission.prompt_id), "saved again"))
        changes = renamed(self.state.graph_of(submission), fresh[:8])
        if submission.tries >= MAX_TRIES or not changes:
            raise gone
        submission.prompt_id, submission.tries = fresh, submission.tries + 1
        submission.changes = (*submission.changes, *changes)
        self.state.add_notices(f"The cached image {gone.filename} was deleted on the server, so it was saved again")
        self._submit(submission, self.within(FETCH_SECONDS))

    def _collected(self) -> Running | Partial:
        parts = Partial()
        for submission in self.state.submissions:
            try:
                part = self._fetched(submission)
            except ImageError as error:
                if error.transient:
                    raise
                part = Partial(failures=(error,))
            if part is None:
                self.seen = Running("saving again")
                return self.seen
            parts += part
        return parts

    def _fetched(self, submission: Submission) -> Partial | None:
        """None where a deleted image has to be saved again first."""
        try:
            return self._part(submission, self.within(FETCH_SECONDS))
        except DeletedFileError as gone:
            self._save_again(submission, gone)
            return None

    def finished(self) -> Partial:
        """The finished images of an abandoned job; an error affects only its own submission."""
        deadline = self.within(LAST_FETCH_SECONDS)
        parts = Partial()
        for submission in self.state.submissions:
            try:
                self._entry(submission.prompt_id, deadline)
                parts += self._part(submission, deadline)
            except ImageError as error:
                parts += Partial(failures=(error,))
        return parts

    def _part(self, submission: Submission, deadline: Deadline) -> Partial:
        """The images or the failure of one submission; nothing as long as it has not ended."""
        entry = self.entries.get(submission.prompt_id)
        if entry is None:
            return Partial()
        graph = self.state.graph_of(submission)
        if entry.failed:
            return Partial(failures=(self._redacted(failed_run(entry.status, graph)),))
        files = read_outputs(entry.outputs, graph)
        images = tuple(self._image(file, submission.seed, deadline) for file in files.images)
        if not images:
            said = "; ".join(files.notices) or "the workflow ended without an image or a video"
            raise ServerUnavailable(FAILED, said, "Give the workflow a Save Image node that its result leads to")
        self.state.add_notices(*files.notices, *black_images(images))
        if len(images) > 1 and files.one_batch and submission.seed is not None:
            self.state.add_notices(f"The {len(images)} images come from one batch with the seed {submission.seed}")
        return Partial(images)

    def _image(self, file: FileRef, seed: int | None, deadline: Deadline) -> GeneratedImage:
        data = self.client.view(file, deadline=deadline)
        if data is None:
            raise DeletedFileError(file.filename)
        return GeneratedImage(data if self.state.keep_workflow else without_workflow(data), seed=seed)

    def cancel(self) -> None:
        """Remove the job's own submissions from the queue, or stop them. Other jobs are not affected. Raises ImageError."""
        deadline = self.within(CANCEL_SECONDS)
        left = [prompt_id for prompt_id in self.state.ids if prompt_id not in self.entries]
        left = [prompt_id for prompt_id in left if not self.client.cancel(prompt_id, deadline=deadline)]
        if not left:
            return
        self.client.remove_pending(left, deadline=deadline)
        queue = self.client.queue(deadline=deadline)
        for prompt_id in left:
            # Old servers ignore the id and stop the running job, so it is only sent if that is ours.
            if queue.place(prompt_id) == 0:
                self.client.interrupt(prompt_id, deadline=deadline)

    def _cancel_rest(self) -> None:
        if len(self.state.submissions) > 1:
            try:
                self.cancel()
            except ImageError as error:
                self.state.add_notices(f"The other images of the request could not be cancelled: {error}")

    def _redacted(self, error: ImageError) -> ImageError:
        error.said = self._hidden(error.said)
        return error

    def _hidden(self, text: str) -> str:
        """`text` without the workflow's own keys: servers quote refused values."""
        return redact(text, [str(value) for _, _, value in self.secrets()])


def queued(place: int) -> str:
    match 0 if place % 100 in {11, 12, 13} else place % 10:
        case 1:
            return f"queued {place}st"
        case 2:
            return f"queued {place}nd"
        case 3:
            return f"queued {place}rd"
        case _:
            return f"queued {place}th"
