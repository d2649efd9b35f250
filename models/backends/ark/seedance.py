"""The Seedance models of Ark: each video is a task that is started, looked at and fetched.

Source: ModelArk video generation API, `contents/generations/tasks` (reference: ark-seedream, section 5).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import override

from pydantic import BaseModel, JsonValue

from models.backends.ark.account import ArkAccount, ArkFault
from models.backends.base import PROBE_SECONDS, Capabilities, Model, Running
from models.backends.errors import ImageError, ServerUnavailable, logger
from models.backends.http import ONCE, without_nulls
from models.backends.images import FoundImage, ImageFetcher
from models.backends.partial import Partial, each
from models.backends.reply import Reply, parse
from models.backends.tasks import Task, TaskBackend, TaskJob, video_pause
from models.catalog import Card, cards
from models.clock import Clock, Deadline
from models.entities import ImageRequest, InputImage, Price, StrictModel
from models.images.frames import check_frames, roles
from models.images.inputs import InputLimits, fitted
from models.parameters import Rule
from models.sizes import RatioSizes, SeedRule, SizeRule

GENERATE = "Generating the video with Ark"
_LOOK = "Looking at the task at Ark"
_TASKS = "contents/generations/tasks"
_INPUTS = InputLimits(formats=("png", "jpeg", "webp"), max_bytes=10_000_000, min_side=300, max_side=2048)
_SEEDS = SeedRule(highest=2**32 - 1)
_LIKE = "seedance-2.0"
"""The model that a model without a card is asked like."""
_EXPIRY = "The address in `image_url` expires 24 hours after the video was made."


class SeedanceFacts(StrictModel):
    """What a card says: the model's names at Volcengine and at BytePlus, and what it takes.

    `images` is the largest number of input images, `references`: they may also show what appears in the video. `seed`
    and `sound`: whether the model has these fields. `rates` are US dollars per million tokens, by resolution ("" is any
    other), `sound_rate` with sound.
    """

    model: str
    international: str
    sizes: RatioSizes
    images: int
    references: bool = False
    seed: bool = False
    sound: bool = False
    rates: Mapping[str, Decimal] = {}
    sound_rate: Decimal | None = None

    def rate(self, request: ImageRequest) -> Decimal | None:
        if self.sound_rate is not None and request.extra.get("generate_audio"):
            return self.sound_rate
        return self.rates.get(str(request.extra.get("resolution")), self.rates.get(""))


class StartedVideo(BaseModel):
    id: str


class VideoContent(BaseModel):
    video_url: str | None = None
    last_frame_url: str | None = None


class VideoUsage(BaseModel):
    completion_tokens: int | None = None


class VideoTaskState(BaseModel):
    """One look at a task. `content` may become null 24 hours after the end."""

    status: str
    error: ArkFault | None = None
    content: VideoContent | None = None
    usage: VideoUsage | None = None
    seed: int | None = None


class Seedance(ArkAccount, TaskBackend):
    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        known = next((card for card in _cards() if model.remote in {card.model, card.facts["model"]}), None)
        card = known or cards()[_LIKE]
        self._rules, self._facts = card.rules, SeedanceFacts.model_validate(card.facts)
        national = self._facts.international if self.is_international else self._facts.model
        self._remote = national if known else self.at_service(model.remote)
        self._priced = known is not None

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=self._facts.images)

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return self._facts.sizes

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return _SEEDS if self._facts.seed else None

    @override
    def gives(self, request: ImageRequest) -> frozenset[str]:
        price = ("cost", "currency") if self._priced and self._facts.rate(request) else ()
        return super().gives(request) | frozenset(price)

    @override
    def check_inputs(self, request: ImageRequest) -> None:
        super().check_inputs(request)
        check_frames(request, self.model.name, references=self._facts.references)

    @override
    def check_access(self) -> Sequence[str]:
        attempt, page = f"Checking {self.title}", {"page_num": "1", "page_size": "1"}
        self.service.request("GET", _TASKS, attempt=attempt, deadline=self.within(PROBE_SECONDS), params=page)
        return ()

    @override
    def interval(self, elapsed: float) -> float:
        return video_pause(elapsed)

    @override
    def _prepared(self, request: ImageRequest) -> ImageRequest:
        return fitted(request, _INPUTS).with_notices(_EXPIRY)

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        seed = request.seeds[place] if request.seeds else None
        body = body_of(self._facts, self._remote, request, seed)
        reply = self.service.request("POST", _TASKS, attempt=GENERATE, deadline=deadline, json=body)
        rate = self._facts.rate(request) if self._priced else None
        facts: dict[str, JsonValue] = {"rate": str(rate)} if rate else {}
        return Task(id=parse(reply, StartedVideo, attempt=GENERATE).id, seed=seed, facts=facts)

    @override
    def _look(self, task: Task, deadline: Deadline) -> Running | Reply:
        path = f"{_TASKS}/{task.id}"
        accept = (HTTPStatus.NOT_FOUND,)
        reply = self.service.request("GET", path, attempt=_LOOK, deadline=deadline, retries=ONCE, accept=accept)
        if not reply.ok:
            raise ServerUnavailable(f"{GENERATE} failed", "the service no longer has the task", "Start it again")
        state = parse(reply, VideoTaskState, attempt=_LOOK)
        match state.status:
            case "succeeded":
                return reply
            case "failed":
                raise self.fault(GENERATE, state.error or ArkFault())
            case "cancelled" | "expired":
                raise ServerUnavailable(f"{GENERATE} failed", f"the task was {state.status} there", "Start it again")
        return Running(state.status)

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        state = parse(reply, VideoTaskState, attempt=GENERATE)
        content = state.content or VideoContent()
        if not content.video_url:
            return Partial()
        fetcher = ImageFetcher(service=self.service, attempt=GENERATE, deadline=deadline, kept="24 hours", retries=ONCE)
        poster = _frame(fetcher, content.last_frame_url)
        seed = task.seed if state.seed is None else state.seed
        return each(lambda address: fetcher.video(address, seed, poster), [content.video_url])

    @override
    def _stop(self, task: Task, deadline: Deadline) -> None:
        """A task that waits can be cancelled, a running one cannot; DELETE would erase the record of an ended one."""
        if self._goes_on(task, deadline):
            attempt = "Cancelling the task at Ark"
            self.service.request("DELETE", f"{_TASKS}/{task.id}", attempt=attempt, deadline=deadline, retries=ONCE)

    @override
    def _price(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> Price | None:
        """Billed are tokens: about width x height x frames per second x seconds / 1024."""
        total = Decimal(0)
        for task, reply in succeeded:
            usage, rate = parse(reply, VideoTaskState, attempt=GENERATE).usage, task.facts.get("rate")
            if usage is None or usage.completion_tokens is None or not rate:
                return None
            total += usage.completion_tokens * Decimal(str(rate)) / 1_000_000
        return Price(total, "USD") if succeeded else None


def body_of(facts: SeedanceFacts, model: str, request: ImageRequest, seed: int | None) -> dict[str, JsonValue]:
    """The body of one task. The last frame comes back as an image: it is the video's poster."""
    images = [_image(*pair) for pair in zip(request.images, roles(request), strict=False)]
    content: list[JsonValue] = [{"type": "text", "text": request.prompt}, *images]
    return without_nulls(
        {
            "model": model,
            "content": content,
            "resolution": request.extra.get("resolution"),
            "ratio": facts.sizes.nearest_ratio(request.size) if request.size else None,
            "duration": request.extra.get("duration"),
            "seed": seed,
            "generate_audio": bool(request.extra.get("generate_audio")) if facts.sound else None,
            "watermark": bool(request.watermark),
            "return_last_frame": True,
        }
    )


def _image(image: InputImage, role: str) -> dict[str, JsonValue]:
    return {"type": "image_url", "image_url": {"url": image.data_url}, "role": role}


def _frame(fetcher: ImageFetcher, address: str | None) -> bytes | None:
    """The last frame; a paid video is not lost to it."""
    try:
        return fetcher.image(FoundImage(address=address), None).data if address else None
    except ImageError as error:
        logger.warning("a video stays without a poster: %s", error)
        return None


def _cards() -> list[Card]:
    return [card for card in cards().values() if card.backend == "ark" and "international" in card.facts]
