"""The base class of every backend: bound to one model and one account, `invoke(request) -> ImageResult`.

What every request needs is written here; a service's folder builds its requests and reads its replies.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import gevent
from pydantic import JsonValue

from models.backends.errors import BadRequest, ConnectionFailed, ImageError, no_image, no_input_image, unsupported
from models.backends.http import Service, TimedOutError, basic_auth, bearer_auth, split_userinfo, with_scheme
from models.backends.outage import Outage
from models.backends.partial import Partial
from models.backends.refusals import RefusalTable
from models.backends.reply import Explanation, Reply
from models.catalog import Card, card_for
from models.clock import Clock, Deadline, SystemClock
from models.entities import GeneratedImage, ImageRequest, ImageResult, ParameterValue, Price
from models.parameters import FORM_ONLY, Rule
from models.room import leave_room
from models.settings import Access, Settings
from models.sizes import SeedRule, SizeRule

type Job = dict[str, JsonValue]

SYNC_LIMIT = 590.0
"""Seconds for the job of a call that waits for its end; Dify ends a call after 600."""
RESERVE = 7.0
"""Seconds after a job's deadline for what is left to fetch or cancel: no request of a call goes on after them."""
LOOK_SECONDS, LEAST_LOOK_SECONDS, LAST_LOOK_SECONDS = 10.0, 1.0, 5.0  # for a look at a job; see `look_deadline`
LAST_CALL_SECONDS = 30.0  # for the check of a job past its deadline
PROBE_SECONDS = 9.0
"""Time limit of the check when a form is saved: the user waits for it."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the bound model takes besides a prompt.

    `images` is the largest number of input images (0: text only), `min_images` the smallest (1: an editing model).
    `mask`: whether masks are supported. `second_image`: how the second of two images is read then if no file name says
    which is the mask. `alpha_is_mask`: whether transparency of a single image is its mask although `second_image` is "image".
    `links`: whether Markdown images stay in the prompt, for the model to follow.
    """

    images: int = 0
    min_images: int = 0
    mask: bool = False
    second_image: Literal["image", "mask"] = "mask"
    alpha_is_mask: bool = False
    links: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A job that is not finished. `progress` is a few words for the user ("queued 2nd", "step 12/30")."""

    progress: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """The model that Dify asked for: its names in Dify and at the service, its form fields, its card if it has one."""

    name: str
    remote: str
    access: Access
    card: Card | None


class Backend(ABC):
    """One service. An instance serves one call from Dify and keeps no state beyond it."""

    name: ClassVar[str]
    """Folder of the cards and value of `backend` in the form of a customizable model."""
    title: ClassVar[str]
    """Name of the service in messages."""
    prefix: ClassVar[str]
    """Prefix of the service's fields in the provider's form."""
    required: ClassVar[tuple[str, ...]] = ()
    """Form fields (without prefix) that must be filled before any model of the service can be used."""
    home: ClassVar[str] = ""
    """Address of the hosted service, where the form names none."""
    customizable: ClassVar[bool] = True
    """Whether a customizable model may name this backend."""
    charges: ClassVar[bool] = True  # then no other model gets a request that this one may have taken up
    look: ClassVar[frozenset[str]] = frozenset()  # own parameters that a prompt may set under `directives`: `look`
    extra_rules: ClassVar[tuple[Rule, ...]] = ()
    """Parameters of this service beyond the common vocabulary."""
    form_only: ClassVar[frozenset[str]] = FORM_ONLY
    """Parameters whose default only prefills the form; if unset, the service decides."""
    tells_progress: ClassVar[bool] = False
    """Whether `on_progress` is ever called."""
    refusals: ClassVar[RefusalTable] = RefusalTable()
    """What the service's refusals mean."""

    def __init__(self, model: Model, clock: Clock) -> None:
        self.model = model
        self.clock = clock
        self.ends = clock.now() + SYNC_LIMIT + RESERVE  # of this call, in seconds since the epoch
        self.on_progress: Callable[[Running], None] = lambda _: None  # called with each state of a job in `invoke`
        self.more_time = ""  # next step for a job past its deadline where a longer `timeout` does not help; else empty

    @classmethod
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> "Backend":
        """The backend for one model name and one credential form, provider-level or the model's own."""
        try:
            access = Access.read(settings, cls.prefix)
        except ValueError as error:
            raise BadRequest(str(error), next_step=f"Write `Name: value; Name: value` {settings.place}") from None
        remote = access.remote_model or name
        return cls(Model(name, remote, access, card_for(cls.name, remote)), clock or SystemClock())

    # What the bound model takes, as data: no requests, no exceptions.

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the bound model takes, as far as it is known."""

    def rules(self) -> tuple[Rule, ...]:
        """The parameters of the bound model, as far as they are known."""
        return self.model.card.rules if self.model.card else ()

    def sizes(self, request: ImageRequest) -> SizeRule | None:
        """The sizes that the model makes for `request`, whose own size is not settled yet; None: any."""
        return None

    def seeds(self, request: ImageRequest) -> SeedRule | None:
        """The seeds of the service for `request`; None where it has none."""
        return None

    def gives(self, request: ImageRequest) -> frozenset[str]:
        """Which of `seed`, `cost`, `currency` and `revised_prompt` every result of `request` has."""
        seed = ("seed",) if request.seeds else ()
        price = ("cost", "currency") if self.price_per_image else ()
        return frozenset((*seed, *price))

    def needs_prompt(self, parameters: Mapping[str, ParameterValue]) -> bool:
        """Whether a request with these parameters is refused without a prompt."""
        return True

    # Methods that send requests.

    def learn(self, deadline: Deadline) -> None:
        """Ask the server for what the data above depend on; called before a request is read. Raises ImageError."""

    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        """`rules` with the server's current choices. Raises ImageError; the form then falls back to `rules`."""
        return self.rules()

    @abstractmethod
    def check_access(self) -> Sequence[str]:
        """Check address and login, after `require_access`, without spending anything; returns notices, such as a low balance.

        Raises ImageError when the account cannot be used, naming the form field to correct.
        """

    def findings(self) -> Sequence[str]:
        """What was understood of the model's own form, such as a pasted workflow. Raises ImageError if unreadable."""
        return ()

    @abstractmethod
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        """Make the images of a checked request. Raises ImageError."""

    # The rest is the same for every service.

    def invoke(self, request: ImageRequest) -> ImageResult:
        """Generate, start to end, within `request.timeout` seconds. Raises ImageError."""
        deadline = self._accepted(request)
        self.ends = deadline.at + RESERVE
        return self._generate(request, deadline)

    def explain(self, reply: Reply) -> Explanation:
        """What a refusal of the service means, and what the user can do."""
        return self.refusals.explain(reply, self.model.access)

    def headers(self) -> Mapping[str, str]:
        """Headers of every request beside the login and the owner's own."""
        return {}

    @property
    def address(self) -> str:
        """The address that the form names, else the hosted service's."""
        return with_scheme(self.model.access.base_url) or self.home

    def login(self, user: str, password: str) -> Mapping[str, str]:
        """The headers of the login: a key wins over a user name and password."""
        return bearer_auth(self.model.access.api_key) or basic_auth(user, password)

    @property
    def service(self) -> Service:
        """The service with the bound account's login; the form's wins over the address's."""
        access = self.model.access
        base_url, user, password = split_userinfo(self.address)
        login = self.login(access.username or user, access.password or password)
        return Service(
            name=self.title,
            base_url=base_url,
            clock=self.clock,
            settings=access.where("base_url"),
            headers={**self.headers(), **login, **access.headers},
            secrets=tuple(secret for secret in (*access.secrets, password) if secret),
            explain=self.explain,
        )

    @property
    def price_per_image(self) -> Price | None:
        """The price on the model's card; a result may carry a more exact one."""
        return self.model.card.price_per_image if self.model.card else None

    def _accepted(self, request: ImageRequest) -> Deadline:
        """The deadline of a job in this call. Raises BadRequest for a request that cannot be served."""
        self.require_access()
        self.check_inputs(request)
        return Deadline(self.clock, min(self.clock.now() + request.timeout, self.ends - RESERVE))

    def within(self, seconds: float) -> Deadline:
        """The deadline `seconds` from now, or the end of this call: no request waits longer."""
        return Deadline(self.clock, min(self.clock.now() + seconds, self.ends))

    def require_access(self) -> None:
        """Raises BadRequest when a required form field is empty."""
        for name in self.required:
            if not getattr(self.model.access, name):
                next_step = f"Fill {self.model.access.where(name)}"
                raise BadRequest(f"{self.model.name} needs {self.title}", next_step=next_step)

    def probe(self) -> Iterator[str]:
        """`findings` and `check_access` when a form is saved, within PROBE_SECONDS.

        Notices are yielded one by one, so that those before a refusal are shown too.
        """
        self.require_access()
        try:
            with gevent.Timeout(PROBE_SECONDS):
                yield from self.findings()
                yield from self.check_access()
        except (TimedOutError, gevent.Timeout):
            said = f"it did not reply within {PROBE_SECONDS:g} seconds"
            step = f"Check that it is running at the address in {self.model.access.where('base_url')}, and try again"
            raise ConnectionFailed(f"Checking {self.title} failed", said, step) from None

    def check_inputs(self, request: ImageRequest) -> None:
        """Raises BadRequest for inputs that the bound model does not take."""
        able, model = self.capabilities, self.model.name
        if request.mask is not None and not able.mask:
            way_out = "Describe the region in words, or choose a model with inpainting"
            raise unsupported("masks", model=model, way_out=way_out)
        self.check_image_count(len(request.images))

    def check_image_count(self, count: int) -> None:
        """Refuse more or fewer input images than the bound model takes. Raises BadRequest."""
        able, model = self.capabilities, self.model.name
        if count and able.images == 0:
            way_out = "Send text only, or choose a model that edits images"
            raise unsupported("input images", model=model, way_out=way_out)
        if count > able.images:
            raise unsupported(f"{count} input images", model=model, way_out=f"Send at most {able.images}")
        if count < able.min_images:
            raise no_input_image(model)

    def result(
        self,
        request: ImageRequest,
        made: Partial | Iterable[GeneratedImage],
        notices: Iterable[str] = (),
        price: Price | None = None,
    ) -> ImageResult:
        """The ImageResult of this backend for `request`; a Partial brings its own notices about missing images.

        Raises the first failure of a Partial without images, ServerUnavailable if there is neither an image nor a failure.
        """
        partial = made if isinstance(made, Partial) else Partial(tuple(made))
        missing = partial.notices(request.n) if isinstance(made, Partial) else ()
        if not partial.images:
            raise no_image(f"Generating with {self.title}")
        return ImageResult(
            images=partial.images,
            backend=self.name,
            model=self.model.name,
            prompt=request.prompt,
            notices=(*request.notices, *notices, *missing),
            price=price,
        )


class JobBackend(Backend):
    """A service that works with jobs: `invoke` is written once, on top of `submit` and `check`.

    A Job is plain JSON that another process can continue; it holds no secret and no image.
    """

    tells_progress = True
    free_to_cancel: ClassVar[bool] = False  # whether a job that was cancelled surely costs nothing

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.outage = Outage(clock)
        self.in_one_call = False  # whether this call waits for the job's end; else other calls check it (polling)
        self._watched_until = self.within(LOOK_SECONDS)

    @abstractmethod
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        """Start the job of a checked request; an ImageResult if the service replies with it. Raises ImageError."""

    @abstractmethod
    def check(self, job: Job) -> Running | ImageResult:
        """Poll a job once. Raises ImageError: a `transient` one leaves the job alive, any other ends it."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Cancel the job at the service if possible, without affecting other users' jobs."""

    def finished_part(self, job: Job) -> ImageResult | None:
        """The images of an abandoned job that are already made and paid for; None if there are none."""
        return None

    def interval(self, elapsed: float) -> float:
        """Seconds until the next poll of a job that is `elapsed` seconds old."""
        return min(1.5, max(0.4, elapsed / 150))

    def begin_watch(self, until: Deadline) -> None:
        if until.passed:  # the last look, in which an image may still be fetched
            self.ends = min(self.ends, self.clock.now() + LAST_CALL_SECONDS)
        self._watched_until = self.within(LAST_LOOK_SECONDS) if until.passed else until

    def look_deadline(self) -> Deadline:
        """When one look at a job must have ended: with its watch, but for the least that a look takes."""
        left = self._watched_until.at - self.clock.now()
        return self.within(min(LOOK_SECONDS, max(left, LEAST_LOOK_SECONDS)))

    def submit(self, request: ImageRequest) -> Job | ImageResult:
        """Check a request and start its job. Raises ImageError."""
        return self._submit(request, self._accepted(request))

    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        """Poll a job until it ends or `until` passes; returns the last known state.

        `started` is the job's start on the clock. Transient errors are ignored until they last as long as an outage.
        """
        self.begin_watch(until)
        state = Running()
        while True:
            began = self.clock.now()
            try:
                seen = self.check(job)
                self.outage.end()
            except ImageError as error:
                self.outage.met(error, began)
                seen = state
            if isinstance(seen, ImageResult):
                return seen
            state = seen
            self.on_progress(state)
            pause = min(max(self.interval(self.clock.now() - started), self.outage.pause), until.remaining)
            if pause <= 0 or self.outage.lasting:
                return state
            leave_room()
            self.clock.sleep(pause)

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.in_one_call, started = True, self.clock.now()
        outcome = self._submit(request, deadline)
        if isinstance(outcome, ImageResult):
            return outcome
        seen = self.watch(outcome, deadline, started=started)
        return seen if isinstance(seen, ImageResult) else self.give_up(outcome, seen)

    def give_up(self, job: Job, seen: Running) -> ImageResult:
        """End a job past its deadline or in an outage: return the finished images with a notice, cancel the rest.

        Raises ConnectionFailed if no image is finished, in an outage the error of its class.
        """
        where = self.model.access.where("base_url")
        error = self.outage.reason(f"Generating with {self.title}", self.title, where, self.more_time)
        if seen.progress:
            error.said = f"{error.said}; last known state: {seen.progress}"
        try:
            part = self.finished_part(job)
        except ImageError:  # the timeout is the error to report
            part = None
        try:
            self.cancel(job)
        except ImageError as failed:
            error.said = f"{error.said}, and it could not be cancelled ({failed.said or failed.attempted})"
        if part is None:
            raise error
        return replace(part, notices=(*part.notices, str(error)))
