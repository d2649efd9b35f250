"""Google: the Gemini image models by API key. Each image is one call; images come as base64 beside the model's words.

Source: ai.google.dev, generateContent and its enums (finish and block reasons), deprecations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, override

from pydantic import BaseModel, Field, JsonValue

from models.backends.base import PROBE_SECONDS
from models.backends.calls import CallBackend, CallFacts
from models.backends.errors import BadRequest, ImageError, ServerUnavailable, shorten
from models.backends.http import Retries
from models.backends.images import image_bytes
from models.backends.partial import Partial, each
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply, parse
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, Price
from models.images.inputs import InputLimits
from models.parameters import Rule, load_rules
from models.sizes import RatioSizes

GENERATE = "Generating with Google"
_READ_SECONDS = 300.0
_RETRIES = Retries(delays=(2.0, 8.0))
_SOFT = frozenset({"NO_IMAGE", "IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE", "CONTINUATION"})
"""Finish reasons that say nothing against the prompt."""
_SMALLEST = "512"
_NORMAL = "1K"


class GeminiFacts(CallFacts):
    """`prices` are US dollars for an image by its `resolution`."""

    prices: Mapping[str, Decimal] = {}


class InlineData(BaseModel):
    data: str


class GeminiPart(BaseModel):
    """A piece of the model's answer. One with `thought` is a draft."""

    text: str = ""
    thought: bool = False
    inline: InlineData | None = Field(None, alias="inlineData")


class GeminiContent(BaseModel):
    parts: tuple[GeminiPart, ...] = ()


class Candidate(BaseModel):
    content: GeminiContent = GeminiContent()
    finish_reason: str = Field("", alias="finishReason")
    finish_message: str = Field("", alias="finishMessage")


class PromptFeedback(BaseModel):
    block_reason: str = Field("", alias="blockReason")


class GeminiReply(BaseModel):
    """A 200 of `generateContent`. A refusal is one as well: without candidates, or without an image."""

    candidates: tuple[Candidate, ...] = ()
    feedback: PromptFeedback = Field(PromptFeedback(blockReason=""), alias="promptFeedback")

    @property
    def parts(self) -> Iterator[GeminiPart]:
        yield from (part for one in self.candidates for part in one.content.parts if not part.thought)


class Google(CallBackend[GeminiFacts]):
    name = "google"
    title = "Google"
    prefix = "google"
    required = ("api_key",)
    home = "https://generativelanguage.googleapis.com"
    refusals = RefusalTable.beside(__file__)
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))
    facts_type = GeminiFacts
    like = "gemini-3.1-flash-image"
    input_limits = InputLimits(formats=("png", "jpeg", "webp"), max_bytes=7_000_000)

    @override
    def login(self, user: str, password: str) -> Mapping[str, str]:
        return {"x-goog-api-key": self.model.access.api_key}

    @override
    def explain(self, reply: Reply) -> Explanation:
        fault = Fault.read(reply)
        match reply.json():
            case {"error": {"status": str(name)}}:
                fault = replace(fault, codes=(*fault.codes, name))
        return self.refusals.explain(fault, self.model.access)

    @override
    def check_access(self) -> Sequence[str]:
        attempt, deadline = f"Checking {self.title}", self.within(PROBE_SECONDS)
        self.service.request("GET", "v1beta/models", attempt=attempt, deadline=deadline, params={"pageSize": 1})
        return ()

    @override
    def _call(self, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        reply = self.service.request(
            "POST",
            f"v1beta/models/{self.facts.model}:generateContent",
            attempt=GENERATE,
            deadline=deadline,
            json=body_of(self.facts, request),
            read_timeout=_READ_SECONDS,
            retries=_RETRIES,
        )
        return _images(reply)

    @override
    def _price(self, request: ImageRequest, images: int) -> Price | None:
        price = self.facts.prices.get(str(request.extra.get("resolution") or _NORMAL))
        return Price(price * images, "USD") if price is not None else None


def body_of(facts: GeminiFacts, request: ImageRequest) -> Mapping[str, JsonValue]:
    """The body of one call: the images first, because the words name them by their number."""
    images: list[JsonValue] = [
        {"inlineData": {"mimeType": image.mime_type, "data": image.base64}} for image in request.images
    ]
    config: dict[str, JsonValue] = {}
    if request.size and isinstance(facts.sizes, RatioSizes):
        config["aspectRatio"] = facts.sizes.nearest_ratio(request.size)
    if resolution := request.extra.get("resolution"):
        config["imageSize"] = resolution
    generation: dict[str, JsonValue] = {"responseModalities": ["TEXT", "IMAGE"]}
    if config:
        generation["imageConfig"] = config
    return {
        "contents": [{"role": "user", "parts": [*images, {"text": request.prompt}]}],
        "generationConfig": generation,
    }


def _images(reply: Reply) -> Partial:
    """The images of a reply. Raises BadRequest for a refusal, ServerUnavailable for an answer without image or reason."""
    answer = parse(reply, GeminiReply, attempt=GENERATE)
    found = [part.inline.data for part in answer.parts if part.inline]
    if not found:
        raise _refusal(answer)
    return each(lambda data: GeneratedImage(image_bytes(data, attempt=GENERATE)), found)


def _refusal(answer: GeminiReply) -> ImageError:
    words = shorten(" ".join(part.text for part in answer.parts if part.text))
    if reason := answer.feedback.block_reason:
        return BadRequest(f"{GENERATE} failed", f"the prompt was blocked ({reason})", "Change the prompt")
    candidate = next(iter(answer.candidates), Candidate(finishReason="", finishMessage=""))
    reason, said = candidate.finish_reason, candidate.finish_message or words
    if reason in _SOFT or not reason:
        return ServerUnavailable(
            f"{GENERATE} failed", said or f"the model made no image ({reason or 'no reason given'})"
        )
    if reason in {"STOP", "MAX_TOKENS"}:
        return BadRequest(f"{GENERATE} failed", f"the model replied with text: {words}", "Describe the image to make")
    advice = "Change the prompt or the input images"
    return BadRequest(f"{GENERATE} failed", f"the image was refused ({reason}{f': {said}' if said else ''})", advice)
