"""What every backend is: a plain class bound to one model and one account, `invoke(request) -> ImageResult`.

This is the template of a service. What a service is asked and how its answers are read stands in its folder; what
every request needs (access, input checks, deadline, login and address, partial results) stands here, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import gevent
from pydantic import JsonValue

from models.backends.errors import BadRequest, ConnectionFailed, ImageError, no_images, no_input_image, unsupported
from models.backends.http import Service, TimedOutError, basic_auth, bearer_auth, split_userinfo, timed_out, with_scheme
from models.backends.outage import Outage
from models.backends.partial import Partial
from models.backends.refusals import RefusalTable
from models.backends.reply import Explanation, Reply
from models.catalog import Card, card_for
from models.clock import Clock, Deadline, SystemClock
from models.entities import GeneratedImage, ImageRequest, ImageResult, ParameterValue, Price
from models.parameters import FORM_ONLY, Rule
from models.settings import Access, Settings
from models.sizes import SeedRule, SizeRule

type Job = dict[str, JsonValue]

SYNC_LIMIT = 590.0
"""Seconds; the host gives one call 600 and drops what comes later."""
PROBE_SECONDS = 9.0
"""Seconds that a server has to answer the check of a form: somebody looks at it and waits."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the bound model takes besides a prompt.

    `images` is the largest number of input images (0: text only), `min_images` the smallest (1: an editing model).
    `mask` says whether a mask is understood; `second_image` how two images without a telling name are read;
    `alpha_is_mask` whether the transparent part of a single image is its mask where a second image is no mask.
    """

    images: int = 0
    min_images: int = 0
    mask: bool = False
    second_image: Literal["image", "mask"] = "image"
    alpha_is_mask: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A job that is not finished. `progress` is a few words for a reader ("queued 2nd", "step 12/30")."""

    progress: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """The model that Dify asked for: its name there, its name at the service, how to reach it, its card if it has one."""

    name: str
    remote: str
    access: Access
    card: Card | None


class Backend(ABC):
    """One service. An instance lives for one call of the host and holds no state that outlives it."""

    name: ClassVar[str]
    """Folder of the cards and value of `backend` in the form of a customizable model."""
    title: ClassVar[str]
    """What users call the service."""
    prefix: ClassVar[str]
    """Prefix of the service's fields in the provider's form."""
    required: ClassVar[tuple[str, ...]] = ()
    """Form fields (without prefix) that must be filled before any model of the service can be used."""
    home: ClassVar[str] = ""
    """Address of the hosted service, where the form names none."""
    customizable: ClassVar[bool] = True
    """Whether a customizable model may name this backend."""
    extra_rules: ClassVar[tuple[Rule, ...]] = ()
    """Parameters that only this service knows, beyond the common vocabulary."""
    form_only: ClassVar[frozenset[str]] = FORM_ONLY
    """Parameters whose default is only what the form starts with: left out, the service decides."""
    tells_progress: ClassVar[bool] = False
    """Whether `on_progress` is ever called."""
    refusals: ClassVar[RefusalTable] = RefusalTable()
    """What the service's refusals mean."""

    def __init__(self, model: Model, clock: Clock) -> None:
        self.model = model
        self.clock = clock
        self.on_progress: Callable[[Running], None] = lambda _: None
        """Called with every state of a job that is seen while `invoke` waits for it."""
        self.more_time = ""
        """How a job gets more time where a longer `timeout` is no help; empty where it helps."""

    @classmethod
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> "Backend":
        """The backend for one model name and one credential form, provider-level or the model's own."""
        try:
            access = Access.read(settings, cls.prefix)
        except ValueError as error:
            raise BadRequest(str(error), next_step=f"Write `Name: value; Name: value` {settings.place}") from None
        remote = access.remote_model or name
        return cls(Model(name, remote, access, card_for(cls.name, remote)), clock or SystemClock())

    # What the bound model takes: data. Nothing here asks a server or raises.

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
        """What every result of `request` tells, out of `seed`, `cost`, `currency` and `revised_prompt`."""
        seed = ("seed",) if request.seeds else ()
        price = ("cost", "currency") if self.price_per_image else ()
        return frozenset((*seed, *price))

    def needs_prompt(self, parameters: Mapping[str, ParameterValue]) -> bool:
        """Whether a request with these parameters is refused without a prompt."""
        return True

    # What asks the server.

    def learn(self, deadline: Deadline) -> None:
        """Find out from the server what the data above depend on. Called before a request is read. Raises ImageError."""

    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        """`rules` with the choices that the server offers at the moment. Raises ImageError, which costs a form only them."""
        return self.rules()

    @abstractmethod
    def check_access(self) -> Sequence[str]:
        """Check address and login without spending anything; returns notices, such as a low balance.

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
        return self._generate(request, self._accepted(request))

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

    @property
    def service(self) -> Service:
        """The service as the bound account reaches it: a key goes before a login, the form's login before the address's."""
        access = self.model.access
        base_url, user, password = split_userinfo(self.address)
        login = bearer_auth(access.api_key) or basic_auth(access.username or user, access.password or password)
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
        """What the model's card says; a result that knows better carries its own price."""
        return self.model.card.price_per_image if self.model.card else None

    def _accepted(self, request: ImageRequest) -> Deadline:
        """The end of this call for a request that can be served. Raises BadRequest for any other."""
        self.require_access()
        self.check_inputs(request)
        return self.within(min(request.timeout, SYNC_LIMIT))

    def within(self, seconds: float) -> Deadline:
        """`seconds` from now."""
        return Deadline.after(self.clock, seconds)

    def require_access(self) -> None:
        """Raises BadRequest when a form field without which the service cannot be asked is empty."""
        for name in self.required:
            if not getattr(self.model.access, name):
                raise BadRequest(
                    f"{self.model.name} needs {self.title}", next_step=f"Fill {self.model.access.where(name)}"
                )

    def probe(self) -> Iterator[str]:
        """`check_access` for somebody who fills a form and waits at most PROBE_SECONDS for it.

        Sentences come one by one: what was found before a refusal is shown as well.
        """
        self.require_access()
        try:
            with gevent.Timeout(PROBE_SECONDS):
                yield from self.findings()
                yield from self.check_access()
        except (TimedOutError, gevent.Timeout):
            raise ConnectionFailed(
                f"Checking {self.title} failed",
                f"it did not answer within {PROBE_SECONDS:g} seconds",
                f"Check that it is running at the address in {self.model.access.where('base_url')}, and try again",
            ) from None

    def check_inputs(self, request: ImageRequest) -> None:
        """Refuse what the bound model cannot take, by name. Raises BadRequest."""
        able, model = self.capabilities, self.model.name
        if request.mask is not None and not able.mask:
            raise unsupported(
                "masks", model=model, way_out="Describe the region in words, or choose a model with inpainting"
            )
        self.check_image_count(len(request.images))

    def check_image_count(self, count: int) -> None:
        """Refuse more or fewer input images than the bound model takes. Raises BadRequest."""
        able, model = self.capabilities, self.model.name
        if count and able.images == 0:
            raise unsupported(
                "input images", model=model, way_out="Send text only, or choose a model that edits images"
            )
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

        Raises the first failure of a Partial without images, ServerUnavailable without any reason.
        """
        partial = made if isinstance(made, Partial) else Partial(tuple(made))
        missing = partial.notices(request.n) if isinstance(made, Partial) else ()
        if not partial.images:
            raise no_images(self.title)
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

    A Job is plain JSON data that another process can go on with; no secret, no image in it.
    """

    tells_progress = True

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self.outage = Outage(clock)

    @abstractmethod
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        """Hand a checked request over; an ImageResult where the service answered at once. Raises ImageError."""

    @abstractmethod
    def check(self, job: Job) -> Running | ImageResult:
        """Look at a job once. Raises ImageError: `transient` ones leave the job alive, others are its end."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Give the job up at the service, where that is possible and touches nobody else's."""

    def finished_part(self, job: Job) -> ImageResult | None:
        """What of a job that is given up was made and paid for; None where nothing was, or nothing can be had."""
        return None

    def interval(self, elapsed: float) -> float:
        """Seconds until the next look at a job that is `elapsed` seconds old."""
        return 0.4 if elapsed < 20 else 1.0  # noqa: PLR2004

    def submit(self, request: ImageRequest) -> Job | ImageResult:
        """Hand a request over. Raises ImageError."""
        return self._submit(request, self._accepted(request))

    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        """Look at a job again and again until it ends or `until` passes; the last state seen is returned.

        `started` is the job's start on the clock. Transient trouble is waited out, but not for longer than an outage may
        last.
        """
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
            pause = min(self.interval(self.clock.now() - started), until.remaining)
            if pause <= 0 or self.outage.lasting:
                return state
            self.clock.sleep(pause)

    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        started = self.clock.now()
        outcome = self._submit(request, deadline)
        if isinstance(outcome, ImageResult):
            return outcome
        seen = self.watch(outcome, deadline, started=started)
        return seen if isinstance(seen, ImageResult) else self.give_up(outcome, seen)

    def give_up(self, job: Job, seen: Running) -> ImageResult:
        """End a job past its deadline or in an outage: what is finished is returned with a notice, the rest is cancelled.

        Raises ConnectionFailed where nothing is finished, in an outage the error of its class.
        """
        error = self._reason()
        if seen.progress:
            error.said = f"{error.said}; last seen: {seen.progress}"
        try:
            part = self.finished_part(job)
        except ImageError:  # the deadline is the trouble to tell
            part = None
        try:
            self.cancel(job)
        except ImageError as trouble:
            error.said = f"{error.said}, and it could not be cancelled ({trouble.said or trouble.attempted})"
        if part is None:
            raise error
        return replace(part, notices=(*part.notices, str(error)))

    def _reason(self) -> ImageError:
        """Why a job is given up: no longer `timeout` helps against an outage."""
        trouble, attempt = self.outage.error, f"Generating with {self.title}"
        if trouble is None:
            error = timed_out(attempt)
            error.next_step = self.more_time or error.next_step
            return error
        where = self.model.access.where("base_url")
        advice = (
            f"Look at {self.title} at the address in {where} before sending it again: the job may still be carried out"
        )
        return type(trouble)(f"{attempt} failed", f"nothing more was heard of the job ({trouble.said})", advice)
