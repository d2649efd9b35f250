"""The Wan video models of Model Studio: each video is a task.

Source: Model Studio, Wan text-to-video, image-to-video and Wan 3.0 APIs (reference: model-studio-more, section 5).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Literal, override

from pydantic import BaseModel, JsonValue

from models.backends.base import Capabilities, Model
from models.backends.errors import BadRequest
from models.backends.http import without_nulls
from models.backends.partial import Partial, each
from models.backends.qwen_image.client import GENERATE
from models.backends.qwen_image.models import BACKEND, MAX_BYTES, SEEDS, StudioModel, without_date
from models.backends.qwen_image.tasks import StudioTasks
from models.backends.qwen_image.wire import cut_notices, jobs_only
from models.backends.reply import Reply, parse
from models.backends.tasks import Task, TaskJob, video_pause
from models.catalog import Card, cards
from models.clock import Clock, Deadline
from models.entities import ImageRequest, Price, StrictModel
from models.images.frames import check_frames, roles
from models.images.inputs import InputLimits, fitted
from models.parameters import Rule
from models.sizes import RatioSizes, SeedRule, SizeRule

EXPIRY = "The address in `image_url` is public and expires 24 hours after the video was made."
_NAME = re.compile(r"(?i)^wanx?(?P<version>\d+\.\d+)-(?P<kind>video\w*|\w*2v)\b")
_SECONDS = ("output_video_duration", "video_duration", "duration")
"""What `usage` calls the length of the video; it differs by model."""


class Rates(StrictModel):
    """The price of a second in each resolution."""

    currency: str
    seconds: Mapping[str, Decimal]


class WanModel(StudioModel):
    """What a card says. `video` is the part of the path that takes the model's tasks.

    `image_fields` are the fields for input images, in their order; without them the model takes a list `media`.
    `references`: images may also show what appears. `pixels` are the sizes by resolution and ratio of a model that is
    asked for pixels. `durations` are the only lengths, in seconds; empty: any. `sound`: it can be left out.
    """

    video: Literal["video-generation", "image2video"] = "video-generation"
    images: int = 0
    min_images: int = 0
    image_fields: tuple[str, ...] = ()
    references: bool = False
    min_input_side: int = 360
    max_input_side: int = 2000
    sizes: SizeRule
    pixels: Mapping[str, Mapping[str, str]] = {}
    durations: tuple[int, ...] = ()
    sound: bool = False
    prompt_characters: int
    prices: Mapping[str, Rates] = {}

    @property
    def input_limits(self) -> InputLimits:
        return InputLimits(max_bytes=MAX_BYTES, min_side=self.min_input_side, max_side=self.max_input_side)


class VideoOutput(BaseModel):
    video_url: str | None = None
    actual_prompt: str | None = None


class VideoReply(BaseModel):
    """A task that has succeeded."""

    output: VideoOutput
    usage: Mapping[str, JsonValue] | None = None

    @property
    def seconds(self) -> Decimal | None:
        told = ((self.usage or {}).get(name) for name in _SECONDS)
        return next((Decimal(str(value)) for value in told if isinstance(value, int | float) and value > 0), None)


class WanVideo(StudioTasks):
    facts: WanModel

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        known = _known().get(without_date(model.remote))
        card = known or family_of(model.remote)
        facts = WanModel.model_validate(card.facts)
        self._rules, self.facts = card.rules, facts if known else facts.model_copy(update={"prices": {}})
        self.like = "" if known else card.model

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=self.facts.images, min_images=self.facts.min_images)

    @override
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        made = self.facts.pixels.get(self._resolution(request))
        return RatioSizes(ratios=tuple(made)) if made else self.facts.sizes

    @override
    def seeds(self, request: ImageRequest) -> SeedRule:
        return SEEDS

    @override
    def gives(self, request: ImageRequest) -> frozenset[str]:
        price = ("cost", "currency") if self._rate(request) else ()
        return super().gives(request) | frozenset(price)

    @override
    def check_inputs(self, request: ImageRequest) -> None:
        if 0 < len(request.images) < self.facts.min_images:
            step = "Send two images: the first is where the video begins, the second where it ends"
            raise BadRequest(f"{self.model.name} needs the first and the last frame", next_step=step)
        super().check_inputs(request)
        check_frames(request, self.model.name, references=self.facts.references)

    @override
    def interval(self, elapsed: float) -> float:
        return video_pause(elapsed)

    @override
    def _prepared(self, request: ImageRequest) -> ImageRequest:
        self.require_region()
        if self.account.token_plan:
            raise jobs_only(self.model.remote)
        request = fitted(request, self.facts.input_limits)
        request = request.with_notices(*cut_notices(request, self.facts.prompt_characters), EXPIRY)
        return self._with_duration(request)

    def _with_duration(self, request: ImageRequest) -> ImageRequest:
        """With the nearest length that the model makes."""
        made, asked = self.facts.durations, self._duration(request)
        if not made or asked in made:
            return request
        near = min(made, key=lambda seconds: abs(seconds - asked))
        notice = f"`duration` became {near}, the nearest that {self.model.name} makes."
        return replace(request, extra={**request.extra, "duration": near}).with_notices(notice)

    @override
    def _start(self, request: ImageRequest, place: int, deadline: Deadline) -> Task:
        body = body_of(self.facts, self.model.remote, request, self._resolution(request), request.seeds[place])
        task_id = self.studio.submit_to(f"{self.facts.video}/video-synthesis", body, deadline=deadline)
        facts: dict[str, JsonValue] = {"seconds": self._duration(request)}
        if rate := self._rate(request):
            facts |= {"rate": str(rate.amount), "currency": rate.currency}
        return Task(id=task_id, seed=request.seeds[place], facts=facts)

    @override
    def _images(self, task: Task, reply: Reply, deadline: Deadline) -> Partial:
        output = parse(reply, VideoReply, attempt=GENERATE).output
        if not output.video_url:
            return Partial()
        words = output.actual_prompt or None
        videos = each(lambda address: self.studio.video(address, task.seed, deadline=deadline), [output.video_url])
        return replace(videos, images=tuple(replace(video, revised_prompt=words) for video in videos.images))

    @override
    def _price(self, job: TaskJob, made: Partial, succeeded: Sequence[tuple[Task, Reply]]) -> Price | None:
        """Billed are the seconds of the videos that were made."""
        total, currency = Decimal(0), ""
        for task, reply in succeeded:
            if "rate" not in task.facts:
                return None
            seconds = parse(reply, VideoReply, attempt=GENERATE).seconds or Decimal(str(task.facts["seconds"]))
            total, currency = total + seconds * Decimal(str(task.facts["rate"])), str(task.facts["currency"])
        return Price(total, currency) if currency else None

    def _rate(self, request: ImageRequest) -> Price | None:
        """The price of one second."""
        rates = self.facts.prices.get(self.account.region or "")
        amount = rates.seconds.get(self._resolution(request)) if rates else None
        return Price(amount, rates.currency) if rates and amount else None

    def _resolution(self, request: ImageRequest) -> str:
        return str(request.extra.get("resolution") or self._default("resolution"))

    def _duration(self, request: ImageRequest) -> int:
        return int(str(request.extra.get("duration") or self._default("duration")))

    def _default(self, name: str) -> object:
        return next(rule.default for rule in self._rules if rule.name == name)


def is_video(name: str) -> bool:
    return bool(_NAME.match(name))


def body_of(model: WanModel, remote: str, request: ImageRequest, resolution: str, seed: int) -> dict[str, JsonValue]:
    """The body of one task."""
    values = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or None,
        **_images_of(model, request),
    }
    parameters = {
        **_shape(model, request, resolution),
        "duration": None if len(model.durations) == 1 else request.extra.get("duration"),
        "audio": bool(request.extra.get("generate_audio", True)) if model.sound else None,
        "prompt_extend": True if request.prompt_extend is None else request.prompt_extend,
        "watermark": bool(request.watermark),
        "seed": seed,
    }
    return {"model": remote, "input": without_nulls(values), "parameters": without_nulls(parameters)}


def _images_of(model: WanModel, request: ImageRequest) -> Mapping[str, JsonValue]:
    urls = [image.data_url for image in request.images]
    if model.image_fields:
        return dict(zip(model.image_fields, urls, strict=False))
    media: list[JsonValue] = [{"type": role, "url": url} for role, url in zip(roles(request), urls, strict=False)]
    return {"media": media} if media else {}


def _shape(model: WanModel, request: ImageRequest, resolution: str) -> Mapping[str, JsonValue]:
    if sizes := model.pixels.get(resolution):
        ratios = RatioSizes(ratios=tuple(sizes))
        return {"size": sizes[ratios.nearest_ratio(request.size) if request.size else ratios.ratios[0]]}
    shape: dict[str, JsonValue] = {"resolution": resolution.upper()}
    if isinstance(model.sizes, RatioSizes) and request.size:
        shape["ratio"] = model.sizes.nearest_ratio(request.size)
    return shape


def family_of(remote: str) -> Card:
    """The known model of the same kind whose version is the nearest below, as which an unknown one is asked."""
    version, kind = _version(remote)
    alike = [name for name in _known() if _version(name)[1] == kind] or ["wan3.0-video"]
    older = [name for name in alike if _version(name)[0] <= version]
    plain = sorted(older or alike, key=len)  # without "flash" or "prime"
    return _known()[max(plain, key=_version) if older else min(plain, key=_version)]


def _version(name: str) -> tuple[Decimal, str]:
    found = _NAME.match(name)
    return (Decimal(found["version"]), found["kind"].casefold()) if found else (Decimal(0), "")


@cache
def _known() -> Mapping[str, Card]:
    return {card.model: card for card in cards().values() if card.backend == BACKEND and "video" in card.facts}
