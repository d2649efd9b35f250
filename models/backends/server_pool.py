"""Several servers behind one form, as one backend.

A form's address field may hold several addresses. There is then one backend per address, and a pool that hands each job
to the best of them (`servers.py`). With one address there is no pool and no further request.

Only a job that surely did not arrive goes to another server. A job stays at its server: its state holds the place of
the address in the list.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import override

from models.backends.base import Backend, Capabilities, Job, JobBackend, Running
from models.backends.errors import (
    SAID_LIMIT,
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    RateLimited,
    ServerUnavailable,
    shorten,
)
from models.backends.servers import (
    PooledBackend,
    ServerChooser,
    in_parallel,
    record_of,
    server_is_gone,
    split_addresses,
)
from models.clock import Deadline
from models.entities import ImageRequest, ImageResult, ParameterValue, Price
from models.parameters import Rule
from models.sizes import SeedRule, SizeRule


class ServerPool(Backend):
    """Several servers as one backend. What is asked of a model as data, the server answers that was learned from."""

    def __init__(self, model_of_all: PooledBackend, members: Sequence[PooledBackend]) -> None:
        super().__init__(model_of_all.model, model_of_all.clock)
        self.members = members
        self.lead = members[0]
        self.chooser = ServerChooser(members, self.clock)
        for place, member in enumerate(members):
            member.place = place

    # What the bound model takes.

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self.lead.capabilities

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self.lead.rules()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        return self.lead.sizes(request)

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return self.lead.seeds(request)

    @override
    def gives(self, request: ImageRequest) -> frozenset[str]:
        return self.lead.gives(request)

    @override
    def needs_prompt(self, parameters: Mapping[str, ParameterValue]) -> bool:
        return self.lead.needs_prompt(parameters)

    def version(self, request: ImageRequest) -> str | None:
        return self.lead.version(request)

    @override
    def check_inputs(self, request: ImageRequest) -> None:
        self.lead.check_inputs(request)

    @override
    def require_access(self) -> None:
        for member in self.members:
            member.require_access()

    @property
    @override
    def price_per_image(self) -> Price | None:
        return self.lead.price_per_image

    # Methods that send requests.

    @override
    def learn(self, deadline: Deadline) -> None:
        failures: dict[int, ImageError] = {}
        for left, member in zip(range(len(self.members), 0, -1), self.chooser.in_order(), strict=True):
            try:
                member.learn(deadline.earlier(deadline.remaining / left))
            except ImageError as error:
                record_of(member).note(error, self.clock.monotonic())
                failures[member.place] = error
            else:
                self.lead = member
                return
        raise self._none_took_it(failures)

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        """The form of the first server that answers, with the choices of all."""
        forms = in_parallel(lambda member: member.live_form(deadline), self.members)
        known = [form for form in forms if not isinstance(form, ImageError)]
        if not known:
            return self.rules()
        return tuple(_with_choices_of(rule, known) for rule in known[0])

    @override
    def probe(self) -> Iterator[str]:
        """Every address is probed, and each that fails is named."""
        outcomes = in_parallel(lambda member: list(member.probe()), self.members)
        failures = {place: error for place, error in enumerate(outcomes) if isinstance(error, ImageError)}
        for member, sentences in zip(self.members, outcomes, strict=True):
            if not isinstance(sentences, ImageError):
                yield from (f"{member.shown}: {sentence}" for sentence in sentences)
        if failures:
            headline = f"{len(failures)} of the {len(self.members)} addresses in {self._field} cannot be used"
            raise self._joined(headline, failures, lambda error: f"{error.attempted}: {error.said}".rstrip(": "))

    @override
    def check_access(self) -> Sequence[str]:
        return [sentence for member in self.members for sentence in member.check_access()]

    def _placed[R](
        self, request: ImageRequest, deadline: Deadline, hand_over: Callable[[PooledBackend, ImageRequest], R]
    ) -> R:
        """Hand a request to the best server; to the next one where it surely did not arrive. Raises ImageError."""
        failures: dict[int, ImageError] = {}
        candidates = self.chooser.candidates(request, deadline, failures)
        while candidates:
            chosen = min(candidates, key=lambda one: one.rank)
            candidates.remove(chosen)
            member = self._for_this_call(chosen.backend)
            member.handed_over = False
            try:
                with chosen.record.handing_over(self.clock):  # nothing else runs between the choice and this count
                    return hand_over(member, replace(request, timeout=deadline.remaining))
            except ImageError as error:
                chosen.record.note(error, self.clock.monotonic())
                if deadline.passed or (member.handed_over and not error.undone):
                    raise
                failures[member.place] = error
        raise self._none_took_it(failures)

    def _for_this_call[B: Backend](self, member: B) -> B:
        """The member with what the caller set on the pool."""
        for name in _OF_THE_CALL:
            if hasattr(self, name):
                setattr(member, name, getattr(self, name))
        return member

    # Words.

    @property
    def _field(self) -> str:
        return self.model.access.where("base_url")

    def _none_took_it(self, failures: Mapping[int, ImageError]) -> ImageError:
        first = next(iter(failures.values()))
        if isinstance(first, BadRequest) and len({str(error) for error in failures.values()}) == 1:
            return first  # the request itself is at fault
        headline = f"None of the {len(self.members)} servers in {self._field} could take the request"
        return self._joined(headline, failures, lambda error: error.said or error.attempted)

    def _joined(
        self, headline: str, failures: Mapping[int, ImageError], words: Callable[[ImageError], str]
    ) -> ImageError:
        """One error for several servers, each with its reason; its class is that of the trouble which passes first."""
        room = SAID_LIMIT // len(failures)
        reasons = [
            shorten(f"{self.members[place].shown}: {words(error)}".rstrip("."), room - 2)
            for place, error in sorted(failures.items())
        ]
        kind, first = next(
            (kind, error) for kind in _PASSING_FIRST for error in failures.values() if isinstance(error, kind)
        )
        joined = kind(headline, "; ".join(reasons), first.next_step, transient=first.transient)
        joined.undone = True
        return joined


_PASSING_FIRST = (RateLimited, ConnectionFailed, ServerUnavailable, AuthorizationFailed, BadRequest)


class CallServerPool(ServerPool):
    """Several servers that answer a call with the images."""

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        return self._placed(request, deadline, lambda member, lowered: member.invoke(lowered))


class JobServerPool(ServerPool, JobBackend):
    """Several servers with jobs. The state of a job holds the place of its server as `server`."""

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        return self._placed(request, deadline, lambda member, lowered: _with_jobs(member).submit(lowered))

    @override
    def check(self, job: Job) -> Running | ImageResult:
        return self._home(job).check(job)

    @override
    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        return self._home(job).watch(job, until, started=started)

    @override
    def finished_part(self, job: Job) -> ImageResult | None:
        return self._home(job).finished_part(job)

    @override
    def cancel(self, job: Job) -> None:
        self._home(job).cancel(job)

    @override
    def give_up(self, job: Job, seen: Running) -> ImageResult:
        return self._home(job).give_up(job, seen)

    def _home(self, job: Job) -> JobBackend:
        """The server that has the job. Raises ServerUnavailable where the list has become shorter."""
        place = job.get("server", 0)
        if not isinstance(place, int) or place >= len(self.members):
            raise server_is_gone(self)
        return self._for_this_call(_with_jobs(self.members[place]))


def pooled(backend: Backend) -> Backend:
    """The backend itself; a pool where its form names several addresses and the service allows them."""
    addresses = split_addresses(backend.model.access.base_url)
    if len(addresses) < 2 or not isinstance(backend, PooledBackend):  # noqa: PLR2004
        return backend
    model, kind = backend.model, type(backend)
    members = [kind(replace(model, access=replace(model.access, base_url=one)), backend.clock) for one in addresses]
    shape = JobServerPool if issubclass(kind, JobBackend) else CallServerPool
    # Its facts about the service are class variables, as those of every backend.
    facts = {name: getattr(kind, name) for name in _FACTS if hasattr(kind, name)}
    pool: Backend = type(shape.__name__, (shape,), facts)(backend, members)
    return pool


_OF_THE_CALL = ("on_progress", "more_time", "ends", "in_one_call")
_FACTS = (
    "name",
    "title",
    "prefix",
    "required",
    "home",
    "extra_rules",
    "form_only",
    "tells_progress",
    "refusals",
    "charges",
    "look",
    "free_to_cancel",
)


def version_of(backend: Backend, request: ImageRequest) -> str | None:
    """Which of a model's two versions serves `request`; None where there is one."""
    return backend.version(request) if isinstance(backend, (PooledBackend, ServerPool)) else None


def _with_jobs(member: PooledBackend) -> JobBackend:
    assert isinstance(member, JobBackend)  # noqa: S101 -- `pooled` puts no other backend into a JobServerPool
    return member


def _with_choices_of(rule: Rule, forms: Sequence[Sequence[Rule]]) -> Rule:
    offered = [option for form in forms for one in form if one.name == rule.name for option in one.options]
    options = tuple(dict.fromkeys(offered))
    return rule.narrowed(options=options, default=rule.default)
