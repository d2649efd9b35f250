"""Services that make each image of a request as a task of its own: started beside each other, looked at together.

A service fills `_start`, `_look` and `_images`; the state of the job, partial results, cancelling and the notices are
written here.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, override

from pydantic import BaseModel, JsonValue

from models.backends.base import Job, JobBackend, Running
from models.backends.errors import ImageError
from models.backends.partial import Partial, collected, first_failure, together
from models.backends.questions import answered
from models.backends.reply import Reply
from models.backends.trail import note_queued
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult, Price

_FETCH_SECONDS = 120.0
_LAST_SECONDS = 4.0
"""For each step with a job that is given up."""
_VIDEO_POLLS = (2.0, 10.0)
"""The shortest and the longest pause, in seconds."""
QUEUED = "queued"
"""What the progress of a task begins with that the service has not begun."""


class Task(BaseModel):
    """One task at the service. `facts` is what the service is asked with later; no secret and no image is in it."""

    id: str
    seed: int | None = None
    facts: dict[str, JsonValue] = {}


class TaskJob(BaseModel):
    """A request's tasks, and what its result will need."""

    tasks: tuple[Task, ...]
    prompt: str
    n: int
    input_images: int
    notices: tuple[str, ...]


type _Seen = Running | Reply | ImageError


class TaskBackend(JobBackend):
    """A service of which every image is a task."""

    tasks_at_once: ClassVar[int] = 4
    """Tasks of one request that are started, looked at or fetched concurrently."""

    def _prepared(self, request: ImageRequest) -> ImageRequest:
        """The request as its tasks are started from, for example with its input images as the service takes them."""
        return request

    @abstractmethod
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        """Start the task of the image with this number, counted from 0. Raises ImageError."""

    @abstractmethod
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        """The task's state; the reply that holds or names its images once it has succeeded.

        Raises ImageError: a `transient` one leaves the task alive, any other ends it.
        """

    @abstractmethod
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        """The images of a task that has succeeded."""

    def _stop(self, task: Task, deadline: Deadline) -> None:
        """Cancel a task, where the service can. Raises ImageError."""

    def _task_count(self, request: ImageRequest) -> int:
        return request.n

    def _turns(self, deadline: Deadline) -> Callable[[int], None]:
        """What waits until the task with a number may be started, where the service bounds the rate. Raises ImageError."""
        return lambda _: None

    def _price(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> Price | None:
        """The price of the tasks that succeeded, where more is known of it than the card tells."""
        return None

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        request, places = self._prepared(request), range(self._task_count(request))
        outcomes = together(
            lambda place: self._start(request, place, deadline),
            places,
            at_once=self.tasks_at_once,
            wait=self._turns(deadline),
        )
        tasks = tuple(outcome for outcome in outcomes if isinstance(outcome, Task))
        failures = [outcome for outcome in outcomes if isinstance(outcome, ImageError)]
        if not tasks:
            raise first_failure(failures)
        return TaskJob(
            tasks=tasks,
            prompt=request.prompt,
            n=request.n,
            input_images=len(request.images),
            notices=(*request.notices, *dict.fromkeys(map(str, failures))),
        ).model_dump(mode="json")

    @override
    def check(self, job: Job) -> Running | ImageResult:
        state = TaskJob.model_validate(job)
        seen = self._seen(state, self.look_deadline())
        if passing := next((one for one in seen if isinstance(one, ImageError) and one.transient), None):
            raise passing
        waiting = [one.progress for one in seen if isinstance(one, Running)]
        if waiting:
            begun = [words for words in waiting if not words.startswith(QUEUED)]
            if not begun:
                note_queued(self.clock)
            words, ended = next(filter(None, begun or waiting), "running"), len(seen) - len(waiting)
            return Running(words if len(seen) == 1 else f"{words}, {ended} of {len(seen)} finished")
        # Images are fetched when all tasks have ended: one that cannot be had at the moment is tried with the next poll.
        made, succeeded = self._made(state, seen, _FETCH_SECONDS)
        if passing := next((failure for failure in made.failures if failure.transient), None):
            raise passing
        return self._result(state, made, succeeded)

    @override
    def finished_part(self, job: Job) -> ImageResult | None:
        state = TaskJob.model_validate(job)
        seen = self._seen(state, self.within(_LAST_SECONDS))
        if not any(isinstance(one, Reply) for one in seen):
            return None
        return self._result(state, *self._made(state, seen, _LAST_SECONDS))

    @override
    def cancel(self, job: Job) -> None:
        state, deadline, failures = TaskJob.model_validate(job), self.within(_LAST_SECONDS), list[ImageError]()
        for task in state.tasks:
            try:
                self._stop(task, deadline)
            except ImageError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _goes_on(self, task: Task, deadline: Deadline) -> bool:
        """Whether a task has not ended, for a service where only such a one may be cancelled. Raises a transient ImageError."""
        try:
            return isinstance(self._look(task, deadline), Running)
        except ImageError as ended:
            if ended.transient:
                raise
            return False

    def _seen(self, job: TaskJob, deadline: Deadline) -> list[_Seen]:
        service = self.service

        def look(task: Task) -> _Seen:
            try:
                return answered(service, f"task {task.id}", lambda until: self._look(task, until), deadline)
            except ImageError as error:
                error.undone = False  # the task exists
                return error

        return together(look, job.tasks, at_once=self.tasks_at_once)

    def _made(
        self, job: TaskJob, seen: Sequence[_Seen], seconds: float
    ) -> tuple[Partial, Sequence[tuple[Task, Reply]]]:
        """The images so far, and the tasks that succeeded."""
        deadline = self.within(seconds)
        pairs = list(zip(job.tasks, seen, strict=True))
        succeeded = [(task, one) for task, one in pairs if isinstance(one, Reply)]
        failures = tuple(one for one in seen if isinstance(one, ImageError))
        fetched = together(lambda pair: self._images(*pair, deadline), succeeded, at_once=self.tasks_at_once)
        return collected(fetched) + Partial(failures=failures), succeeded

    def _result(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> ImageResult:
        request = ImageRequest(model=self.model.name, prompt=job.prompt, n=job.n, notices=job.notices)
        return self.result(request, made, price=self._price(job, made, succeeded))


def video_pause(elapsed: float) -> float:
    """Seconds until the next look at a task that makes a video, which takes one to five minutes."""
    return min(_VIDEO_POLLS[1], max(_VIDEO_POLLS[0], elapsed / 10))
