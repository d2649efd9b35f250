"""What every model of Model Studio shares: the account and its region, the key check, the rate of calls, and tasks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, override

from models.backends.base import PROBE_SECONDS, Running
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import timed_out
from models.backends.qwen_image.account import REGIONS, Account, RefusalContext, explain, read_account
from models.backends.qwen_image.client import GENERATE, ModelStudio
from models.backends.qwen_image.models import BACKEND, StudioModel
from models.backends.reply import Explanation, Reply
from models.backends.tasks import QUEUED, Task, TaskBackend
from models.clock import Deadline
from models.parameters import Rule, load_rules


class StudioTasks(TaskBackend):
    """A model of Model Studio. `facts` and `like` are for its subclasses to set."""

    name: ClassVar[str] = BACKEND
    free_to_cancel: ClassVar[bool] = True  # the service refuses to cancel a running task
    title: ClassVar[str] = "Qwen-Image (Model Studio)"
    prefix: ClassVar[str] = "dashscope"
    required: ClassVar[tuple[str, ...]] = ("api_key",)
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))
    tasks_at_once: ClassVar[int] = 10

    facts: StudioModel
    like: str = ""
    """The known model as which an unknown one is asked; empty for a known one."""

    @property
    @override
    def address(self) -> str:
        return self.account.base_url

    @override
    def explain(self, reply: Reply) -> Explanation:
        return explain(self._context, reply)

    @override
    def check_access(self) -> Sequence[str]:
        self.studio.check_key(self.within(PROBE_SECONDS))
        told = f"{self.model.remote} is not a known model; it is treated like {self.like}."
        return (told,) if self.like else ()

    @override
    def _turns(self, deadline: Deadline) -> Callable[[int], None]:
        """At the model's rate. A call that is due after the deadline fails."""
        start, interval = self.clock.now(), 60 / self.facts.requests_per_minute

        def wait(place: int) -> None:
            due = start + place * interval
            if due > deadline.at:
                raise timed_out(GENERATE)
            if (pause := due - self.clock.now()) > 0:
                self.clock.sleep(pause)

        return wait

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        reply = self.studio.look(task.id, deadline=deadline)
        output = self.studio.output(reply)
        match output.task_status:
            case "SUCCEEDED":
                return reply
            case "PENDING":
                return Running(QUEUED)
            case "RUNNING" | "SUSPENDED":
                return Running("running")
            case "FAILED":
                error = self.studio.failure(output)
                error.transient = False  # the task has ended, whatever the reason
                raise error
            case "CANCELED":
                raise ServerUnavailable(f"{GENERATE} failed", "the job was cancelled at the service", "Start it again")
        raise ServerUnavailable(
            f"{GENERATE} failed",
            f"the service no longer has the job ({output.task_status})",
            f"Start it again; jobs are kept for 24 hours, for keys of the same account in {self.account.place} only",
        )

    @override
    def _stop(self, task: Task, deadline: Deadline) -> None:
        """Cancel a queued task; the service finishes and bills a running one."""
        if self._goes_on(task, deadline):
            self.studio.cancel(task.id, deadline=deadline)

    @property
    def account(self) -> Account:
        return read_account(self.model.access)

    @property
    def studio(self) -> ModelStudio:
        return ModelStudio(self.service, self._context)

    @property
    def _context(self) -> RefusalContext:
        return RefusalContext(self.account, self.model.remote, self.facts.regions, self.facts.requests_per_minute)

    def require_region(self) -> None:
        account = self.account
        if account.region and account.region not in self.facts.regions:
            offered = " and ".join(REGIONS[name].title for name in self.facts.regions)
            raise BadRequest(
                f"{self.model.name} is offered in {offered}, not in {account.place}",
                next_step=f"Choose another model, or use a key of that region and choose it in "
                f"{account.access.where('region')}",
            )
