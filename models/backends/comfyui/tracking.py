"""One job at one server: handing its runs over, looking after them, and fetching what they made.

A job can be lost between any two requests: the answer to the submission, the whole queue in a restart, an image's
file. Each is noticed and mended once; how often a run was handed over stands in the state, which travels.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pydantic import JsonValue

from models.backends.base import Running
from models.backends.comfyui.client import Server
from models.backends.comfyui.events import queued
from models.backends.comfyui.failures import FAILED, Choices, dropped_outputs, failed_run, refusal
from models.backends.comfyui.outputs import read_outputs, without_workflow
from models.backends.comfyui.state import Change, JobState, Run, changed, renamed
from models.backends.comfyui.wire import SUCCESS, Accepted, Entry, ExtraData, PromptRequest, Refused, RunStatus
from models.backends.errors import ImageError, ServerUnavailable, redact
from models.clock import Clock, Deadline
from models.entities import GeneratedImage

LOOK_SECONDS = 30.0
FETCH_SECONDS = 120.0
GRACE = 0.5  # seconds between two misses: a job is nowhere for a moment on its way from the queue to the history
MAX_TRIES = 2


@dataclass(frozen=True, slots=True)
class Made:
    """Every run ended well: the images, in the order of the runs."""

    images: tuple[GeneratedImage, ...]


@dataclass
class Tracker:
    """`workflow` is the editor's graph to write into the images, None to write none; `secrets` tells what belongs
    into the graph and must not stand in the job's state."""

    server: Server
    clock: Clock
    choices: Choices
    secrets: Callable[[], list[Change]] = list
    workflow: JsonValue = None
    at_work: bool = field(default=False, init=False)
    """Whether the last look at the queue found the job running."""
    _seen: Running = field(default_factory=Running, init=False)
    _entries: dict[str, Entry] = field(default_factory=dict, init=False)

    # Handing over

    def submit(self, state: JobState, *, deadline: Deadline) -> None:
        """Queue every run. Raises ImageError; then nothing of the job is left waiting."""
        try:
            for run in state.runs:
                self._hand_over(state, run, deadline)
        except ImageError:
            self._discard(state)
            raise

    def _hand_over(self, state: JobState, run: Run, deadline: Deadline) -> None:
        graph = changed(state.graph_of(run), self.secrets())
        pnginfo = {"workflow": self.workflow} if self.workflow is not None else None
        request = PromptRequest(
            prompt=dict(graph),
            prompt_id=run.prompt_id,
            client_id=state.client_id,
            extra_data=ExtraData(extra_pnginfo=pnginfo),
        )
        answer = self._surely_submitted(request, deadline)
        if isinstance(answer, Refused):
            raise self._redacted(refusal(answer, graph, self.choices))
        state.tell(*dropped_outputs(answer, graph))

    def _surely_submitted(self, request: PromptRequest, deadline: Deadline) -> Accepted | Refused:
        """Submit; when the answer is lost, look whether the job arrived before it is sent again under the same id."""
        try:
            return self.server.submit(request, deadline=deadline)
        except ImageError as error:
            if not error.transient:
                raise
            try:
                arrived = self._is_known(request.prompt_id)
            except ImageError:
                raise error from None
        return Accepted(prompt_id=request.prompt_id) if arrived else self.server.submit(request, deadline=deadline)

    def _is_known(self, prompt_id: str) -> bool:
        """Whether the server has the job; asked twice, because a request may outlive its connection for a moment."""
        if self._place(prompt_id) is not None:
            return True
        self.clock.sleep(GRACE)
        return self._place(prompt_id) is not None

    # Looking

    def look(self, state: JobState, *, places: bool) -> Running | Made:
        """See what became of the job. `places` also asks the queue, which tells the place and notices a lost run.

        Raises ImageError when a run failed, or was lost again.
        """
        self._read_history(state.runs)
        self._stop_at_failure(state)
        waiting = [run for run in state.runs if run.prompt_id not in self._entries]
        if not waiting:
            return self._collected(state)
        if places:
            self._seen = self._placed(state, waiting)
        return self._seen

    def _read_history(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.prompt_id not in self._entries:
                entry = self.server.entry(run.prompt_id, deadline=self._soon())
                if entry is not None:
                    self._entries[run.prompt_id] = entry

    def _stop_at_failure(self, state: JobState) -> None:
        for run in state.runs:
            entry = self._entries.get(run.prompt_id)
            if entry is not None and _failed(entry):
                self._discard(state)
                raise self._failure(entry, state, run)

    def _failure(self, entry: Entry, state: JobState, run: Run) -> ImageError:
        status = entry.status or RunStatus()
        return self._redacted(failed_run(status.last, status.error, state.graph_of(run)))

    def _redacted(self, error: ImageError) -> ImageError:
        """Without the keys that the workflow itself holds: services like to quote them."""
        error.said = redact(error.said, [str(value) for _, _, value in self.secrets()])
        return error

    def _placed(self, state: JobState, waiting: list[Run]) -> Running:
        queue = self.server.queue(deadline=self._soon())
        first = None
        for run in waiting:
            place = queue.place(run.prompt_id)
            if place is None:
                place = self._place_of_missing(state, run)
            first = place if first is None else first
        self.at_work = first == 0
        return Running(queued(first) if first else "running")

    def _place_of_missing(self, state: JobState, run: Run) -> int | None:
        """A second look at a run that was neither finished nor waiting; when it is still nowhere, it is lost."""
        self.clock.sleep(GRACE)
        place = self._place(run.prompt_id)
        if place is None:
            self._repeat_lost(state, run)
        return place

    def _place(self, prompt_id: str) -> int | None:
        """0 for running or finished, else the place in the queue; None when the server does not know the job.

        The queue comes first: a job only ever moves from there to the history, so it cannot slip through in between.
        """
        place = self.server.queue(deadline=self._soon()).place(prompt_id)
        if place is not None:
            return place
        return None if self.server.entry(prompt_id, deadline=self._soon()) is None else 0

    # Mending

    def _repeat_lost(self, state: JobState, run: Run) -> None:
        """Hand a lost run over again, under its id: a process that does not know of this one finds it all the same."""
        if run.tries >= MAX_TRIES:
            raise ServerUnavailable(
                FAILED,
                "the job disappeared from the server's queue twice",
                "Look whether the server keeps restarting (its log tells why), or whether somebody clears its queue",
            )
        run.tries += 1
        state.tell(
            "The job disappeared from the server's queue (restarted, or cleared by somebody) and was submitted again"
        )
        self._hand_over(state, run, Deadline.after(self.clock, FETCH_SECONDS))

    def _repeat_deleted(self, state: JobState, run: Run, name: str) -> None:
        """The history names a file of an earlier, identical job that is gone: save again under another name."""
        fresh = str(uuid.uuid5(uuid.UUID(run.prompt_id), "saved again"))
        changes = renamed(state.graph_of(run), fresh[:8])
        if run.tries >= MAX_TRIES or not changes:
            raise ServerUnavailable(
                FAILED, f"the server made {name} and does not have it any more", "Try again with another seed"
            )
        run.prompt_id, run.tries, run.changes = fresh, run.tries + 1, (*run.changes, *changes)
        state.tell(f"The server's cached image {name} was deleted there, so it was saved again")
        self._hand_over(state, run, Deadline.after(self.clock, FETCH_SECONDS))

    # Fetching

    def _collected(self, state: JobState) -> Running | Made:
        images: list[GeneratedImage] = []
        for run in state.runs:
            made = self._images(state, run)
            if made is None:
                return Running("saving again")
            images.extend(made)
        return Made(tuple(images))

    def _images(self, state: JobState, run: Run) -> list[GeneratedImage] | None:
        """The images of one run, None when they have to be made again."""
        outputs = read_outputs(self._entries[run.prompt_id].outputs, state.graph)
        state.tell(*outputs.notices)
        if not outputs.pictures:
            raise _nothing_shown(outputs.notices)
        made = []
        for file in outputs.pictures:
            data = self.server.view(file, deadline=Deadline.after(self.clock, FETCH_SECONDS))
            if data is None:
                self._repeat_deleted(state, run, file.filename)
                return None
            made.append(GeneratedImage(data if state.keep_workflow else without_workflow(data), seed=run.seed))
        if len(made) > 1 and run.seed is not None:
            state.tell(f"The {len(made)} images come from one batch with the seed {run.seed}")
        return made

    # Giving up

    def cancel(self, state: JobState) -> None:
        """Take our own runs out of the queue, or stop them. Touches nobody else's. Raises ImageError."""
        deadline = self._soon()
        left = [run_id for run_id in state.ids if not self.server.cancel(run_id, deadline=deadline)]
        if not left:
            return
        self.server.remove_pending(left, deadline=deadline)
        queue = self.server.queue(deadline=deadline)
        for run_id in left:
            # Old servers ignore the id and stop whatever runs: only asked when it is ours.
            if queue.place(run_id) == 0:
                self.server.interrupt(run_id, deadline=deadline)

    def _discard(self, state: JobState) -> None:
        """Cancel what may be left of a job that has failed already: its own error is the one to tell."""
        if len(state.runs) > 1:
            try:
                self.cancel(state)
            except ImageError as trouble:
                state.tell(f"The other images of the request could not be cancelled: {trouble}")

    def _soon(self) -> Deadline:
        return Deadline.after(self.clock, LOOK_SECONDS)


def _failed(entry: Entry) -> bool:
    # The status word alone says "error" for interrupted jobs too, and very old servers write no status at all.
    status = entry.status or RunStatus()
    return status.last != SUCCESS and (status.last != "" or status.status_str == "error")


def _nothing_shown(notices: tuple[str, ...]) -> ServerUnavailable:
    return ServerUnavailable(
        FAILED,
        "; ".join(notices) or "the workflow ended without an image",
        "Give the workflow a Save Image node that its result leads to",
    )
