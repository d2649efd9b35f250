"""What every backend is: a plain class bound to one model and one account, `invoke(request) -> ImageResult`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import JsonValue

from models.backends.errors import BadRequest, ConnectionFailed, ImageError, ServerUnavailable, unsupported
from models.backends.http import TimedOutError, timed_out
from models.catalog import Card, card_for, cards
from models.clock import Clock, Deadline, SystemClock
from models.entities import GeneratedImage, ImageRequest, ImageResult, Price
from models.parameters import Rule
from models.settings import Access, read_access

type Job = dict[str, JsonValue]

SYNC_LIMIT = 590.0
"""Seconds; the host gives one call 600 and drops what comes later."""
DEFAULT_TIMEOUT = 600.0
"""Seconds for a whole job where nobody names a `timeout`."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the bound model takes besides a prompt.

    `images` is the largest number of input images (0: text only), `min_images` the smallest (1: an editing model).
    `mask` says whether a mask is understood; `second_image` how two images without a telling name are read.
    """

    images: int = 0
    min_images: int = 0
    mask: bool = False
    second_image: Literal["image", "mask"] = "image"


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
    customizable: ClassVar[bool] = True
    """Whether a customizable model may name this backend."""
    extra_rules: ClassVar[tuple[Rule, ...]] = ()
    """Parameters that only this service knows, beyond the common vocabulary."""

    tells_progress: ClassVar[bool] = False
    """Whether `on_progress` is ever called."""

    def __init__(self, model: Model, clock: Clock) -> None:
        self.model = model
        self.clock = clock
        self.on_progress: Callable[[Running], None] = _nobody_listens
        """Called with every state of a job that is seen while `invoke` waits for it."""

    @classmethod
    def bind(cls, name: str, credentials: Mapping[str, object], clock: Clock | None = None) -> "Backend":
        """The backend for one model name and one credential form, provider-level or the model's own."""
        access = read_access(credentials, cls.prefix)
        remote = access.remote_model or name
        return cls(Model(name, remote, access, card_for(cls.name, remote)), clock or SystemClock())

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the bound model takes."""

    @abstractmethod
    def invoke(self, request: ImageRequest) -> ImageResult:
        """Generate, start to end, within `request.timeout` seconds. Raises ImageError."""

    @abstractmethod
    def check_access(self) -> Sequence[str]:
        """Probe address and login without generating or spending anything.

        Returns sentences worth telling (a low balance, the dialect that was found). Raises ImageError when the
        account cannot be used, naming the form field to mend.
        """

    def findings(self) -> Sequence[str]:
        """What was understood of the model's own form (a pasted workflow, say), whether or not the check passes.

        Raises ImageError when it cannot be read.
        """
        return ()

    def rules(self) -> tuple[Rule, ...]:
        """The parameters of the bound model. Fast and never raises: the host asks often and shows nothing otherwise."""
        return self.model.card.rules if self.model.card else ()

    def form(self) -> tuple[Rule, ...]:
        """`rules` as a customizable model's form shows them: with the choices that a server offers at the moment.

        A choice that is not offered may still be asked for in a directive or by a variable. Fast and never raises.
        """
        return self.rules()

    def known_models(self) -> Sequence[str]:
        """The model names that can be asked for, for the message about an unknown one: those of the cards."""
        return [card.model for card in cards().values() if card.backend == self.name]

    # The rest is the same for every service.

    @property
    def price_per_image(self) -> Price | None:
        """What the model's card says; a result that knows better carries its own price."""
        return self.model.card.price_per_image if self.model.card else None

    def deadline(self, request: ImageRequest) -> Deadline:
        """The end of a request that is answered within one call of the host, which allows no more than SYNC_LIMIT."""
        return Deadline.after(self.clock, min(request.timeout, SYNC_LIMIT))

    def require_access(self) -> None:
        """Raises BadRequest when a form field without which the service cannot be asked is empty."""
        for name in self.required:
            if not getattr(self.model.access, name):
                field = self.model.access.field(name)
                raise BadRequest(
                    f"{self.model.name} needs {self.title}", next_step=f"Fill `{field}` {self.model.access.place}"
                )

    def probe(self) -> Iterator[str]:
        """`check_access` for somebody who fills a form, where there is no job whose `timeout` could be raised.

        Sentences come one by one: what was found before a refusal is told all the same.
        """
        self.require_access()
        try:
            yield from self.findings()
            yield from self.check_access()
        except TimedOutError as late:
            field = f"`{self.model.access.field('base_url')}` {self.model.access.place}"
            raise ConnectionFailed(
                late.attempted,
                f"{self.title} did not answer in time",
                f"Check that {self.title} is running at the address in {field}, and try again",
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
            raise BadRequest(
                f"{model} edits images and got none",
                next_step="Switch on the node's vision setting and choose an image, or use a text-to-image model",
            )

    def result(
        self,
        request: ImageRequest,
        images: Iterable[GeneratedImage],
        notices: Iterable[str] = (),
        price: Price | None = None,
    ) -> ImageResult:
        """The ImageResult of this backend for `request`. Raises ServerUnavailable without an image."""
        made = tuple(images)
        if not made:
            raise no_images(self.title)
        return ImageResult(
            images=made,
            backend=self.name,
            model=self.model.name,
            prompt=request.prompt,
            notices=(*request.notices, *notices),
            price=price,
        )


class JobBackend(Backend):
    """A service that works with jobs: `invoke` is written once, on top of `submit` and `check`.

    A Job is plain JSON data that another process can go on with; no secret, no image in it.
    """

    tells_progress = True

    @abstractmethod
    def submit(self, request: ImageRequest) -> Job | ImageResult:
        """Hand the request over; an ImageResult where the service answered at once. Raises ImageError."""

    @abstractmethod
    def check(self, job: Job) -> Running | ImageResult:
        """Look at a job once. Raises ImageError: `transient` ones leave the job alive, others are its end."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Give the job up at the service, where that is possible and touches nobody else's."""

    def interval(self, elapsed: float) -> float:
        """Seconds until the next look at a job that is `elapsed` seconds old."""
        return 0.4 if elapsed < 20 else 1.0  # noqa: PLR2004

    def watch(self, job: Job, until: Deadline, *, started: float) -> Running | ImageResult:
        """Look at a job again and again until it ends or `until` passes; the last state seen is returned.

        `started` is the job's start on the clock. Transient trouble is waited out.
        """
        state = Running()
        while True:
            try:
                seen = self.check(job)
            except ImageError as error:
                if not error.transient:
                    raise
                seen = state
            if isinstance(seen, ImageResult):
                return seen
            state = seen
            self.on_progress(state)
            pause = min(self.interval(self.clock.now() - started), until.remaining)
            if pause <= 0:
                return state
            self.clock.sleep(pause)

    def invoke(self, request: ImageRequest) -> ImageResult:
        started, deadline = self.clock.now(), self.deadline(request)
        outcome = self.submit(request)
        if isinstance(outcome, ImageResult):
            return outcome
        seen = self.watch(outcome, deadline, started=started)
        if isinstance(seen, ImageResult):
            return seen
        raise self.give_up(outcome, seen)

    def give_up(self, job: Job, seen: Running) -> ConnectionFailed:
        """Cancel a job past its deadline and return the error to raise."""
        error = timed_out(f"Generating with {self.title}")
        if seen.progress:
            error.said = f"{error.said}; last seen: {seen.progress}"
        try:
            self.cancel(job)
        except ImageError as trouble:
            error.said = f"{error.said}, and it could not be cancelled ({trouble.said or trouble.attempted})"
        return error


def _nobody_listens(_: Running) -> None:
    return


def within_one_call(request: ImageRequest) -> ImageRequest:
    """The request of a call that nobody polls. A `timeout` that the host would not wait for is lowered, with a notice."""
    if request.timeout <= DEFAULT_TIMEOUT:
        return replace(request, timeout=min(request.timeout, SYNC_LIMIT))
    lowered = f"`timeout` became {SYNC_LIMIT:g} seconds: Dify waits no longer for an answer that comes in one call."
    return replace(request, timeout=SYNC_LIMIT, notices=(*request.notices, lowered))


def no_images(title: str) -> ServerUnavailable:
    """The error for a service that said "done" and sent no image."""
    return ServerUnavailable(
        f"Generating with {title} failed", "the service reported success without an image", "Try again"
    )
