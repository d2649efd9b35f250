"""Backend stubs: one returns its result at once, one uses jobs."""

from collections.abc import Sequence

from models.backends.base import Backend, Capabilities, Job, JobBackend, Model, Running
from models.backends.errors import ImageError
from models.clock import Clock, Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.parameters import MAX_SEED, RULES, Rule
from models.settings import Access
from models.sizes import FreeSizes, SeedRule, SizeRule
from tests.fakes import image_file

STUB_RULES = tuple(
    RULES[name]
    for name in (
        "width",
        "height",
        "aspect_ratio",
        "seed",
        "n",
        "details",
        "timeout",
        "output_format",
        "output_quality",
    )
)


class StubBackend(Backend):
    """Returns one red image for every request and records the requests."""

    name = "stub"
    title = "Stub"
    prefix = "stub"
    able = Capabilities()

    def __init__(self, clock: Clock, *, able: Capabilities | None = None, rules: tuple[Rule, ...] = STUB_RULES) -> None:
        super().__init__(Model("stub-model", "stub-model", Access(prefix="stub"), None), clock)
        self.able = able or Capabilities()
        self.asked: list[ImageRequest] = []
        self._rules = rules

    @property
    def capabilities(self) -> Capabilities:
        return self.able

    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    def sizes(self, request: ImageRequest) -> SizeRule:
        return FreeSizes(min_side=16)

    def seeds(self, request: ImageRequest) -> SeedRule:
        return SeedRule(highest=MAX_SEED)

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.asked.append(request)
        return self.result(request, [GeneratedImage(image_file(), seed=request.seed)])

    def check_access(self) -> Sequence[str]:
        return ()


class StubJobs(JobBackend):
    """A service whose job takes `takes` seconds on the clock; the next checks raise `troubles` in order.

    `part` is what a job that is given up has made.
    """

    name = "stub_jobs"
    title = "Stub service"
    prefix = "stub"

    def __init__(
        self, clock: Clock, *, takes: float, troubles: Sequence[ImageError] = (), part: ImageResult | None = None
    ) -> None:
        super().__init__(Model("stub-model", "stub-model", Access(prefix="stub"), None), clock)
        self.takes = takes
        self.troubles = list(troubles)
        self.part = part
        self.cancelled: list[Job] = []
        self.checks = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def rules(self) -> tuple[Rule, ...]:
        return STUB_RULES

    def finished_part(self, job: Job) -> ImageResult | None:
        return self.part

    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        return {"ends": self.clock.now() + self.takes, "prompt": request.prompt}

    def check(self, job: Job) -> Running | ImageResult:
        self.checks += 1
        if self.troubles:
            raise self.troubles.pop(0)
        ends = job["ends"]
        assert isinstance(ends, (int, float))
        if self.clock.now() < ends:
            return Running("step 12/30")
        request = ImageRequest(model="stub-model", prompt=str(job["prompt"]))
        return self.result(request, [GeneratedImage(image_file(), seed=7)])

    def cancel(self, job: Job) -> None:
        self.cancelled.append(job)

    def check_access(self) -> Sequence[str]:
        return ()
