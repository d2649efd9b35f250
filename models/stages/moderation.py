"""Moderation of prompts, input images and results by any endpoint of the OpenAI moderation API.

API: `POST <base>/moderations` with `input` and perhaps `model`; a reply's `results` hold `flagged`, `categories` and
`category_scores` (https://platform.openai.com/docs/api-reference/moderations). OpenAI takes one image per request, so
every image is a request of its own, all at once. The sentence of a refusal names the category, never the content.
"""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import gevent
from pydantic import BaseModel, Field

from models.backends.errors import (
    AuthorizationFailed,
    BadRequest,
    ConnectionFailed,
    ImageError,
    ServerUnavailable,
    logger,
)
from models.backends.http import Retries, Service, TimedOutError, basic_auth, bearer_auth, split_userinfo, with_scheme
from models.backends.reply import Explanation, Reply, parse, plain_explanation
from models.clock import Clock, Deadline, SystemClock
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.images import in_thread
from models.images.sniff import BrokenImageError, NotAnImageError, sniff
from models.settings import Settings
from models.stages.carried import Carried

FIELD, KEY = "moderation_url", "moderation_api_key"
SECONDS = 8.0
"""For all checks of one stage: a call of 590 seconds must still end before the host's 600."""
_RETRIES = Retries(delays=(0.5, 1.5))
_PATH = "moderations"
_OPTIONS = frozenset({"model", "on_error", "thresholds", "images"})
_SMALL = 300_000  # bytes of a file that is sent as it is
_SIDE = 1024  # pixels of a larger one's copy; endpoints scale images down to less
_COPY_QUALITY = 85
_SENDABLE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})

type Input = str | Sequence[Mapping[str, object]]
"""What one request checks: a text, or a list with one image."""
type Verdict = tuple[str, ...] | ImageError
"""The flagged categories, or why the endpoint could not tell."""


class _Judged(BaseModel):
    """One of `results`. Categories that an endpoint does not judge may be null."""

    flagged: bool = False
    categories: Mapping[str, bool | None] = Field(default_factory=dict)
    category_scores: Mapping[str, float | None] = Field(default_factory=dict)


class _Judgement(BaseModel):
    results: list[_Judged] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderation:
    """One endpoint and the owner's policy.

    `thresholds`: the score from which on a category is refused, in place of the endpoint's own word. `on_error`: allow
    or refuse what the endpoint cannot check. `images`: whether it can read images. `where` and `key` name the form's
    fields.
    """

    service: Service
    where: str
    key: str
    model: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    on_error: str = "refuse"
    images: bool = True

    @classmethod
    def read(cls, settings: Settings, clock: Clock | None = None) -> "Moderation":
        """Raises BadRequest for a query that cannot be read, naming the field."""
        where = settings.where(FIELD)
        address, user, password = split_userinfo(with_scheme(settings.text(FIELD)))
        try:
            parts = urlsplit(address)
        except ValueError:
            raise BadRequest(f"{where} holds no URL", next_step="Write it as https://host/v1") from None
        options = _options(parts.query, where)
        base = urlunsplit(parts._replace(query="", path=parts.path.rstrip("/").removesuffix(f"/{_PATH}")))
        key = settings.text(KEY).removeprefix("Bearer ")
        service = Service(
            name="the moderation endpoint",
            base_url=base,
            clock=clock or SystemClock(),
            settings=where,
            headers=bearer_auth(key) or basic_auth(user, password),
            secrets=tuple(filter(None, (key, password))),
            explain=_explained,
        )
        return cls(
            service=service,
            where=where,
            key=settings.where(KEY),
            model=options.get("model", ""),
            thresholds=_thresholds(options.get("thresholds", ""), where),
            on_error=options.get("on_error", "refuse"),
            images=options.get("images", "on") == "on",
        )

    def verdicts(self, inputs: Sequence[Callable[[], Input]]) -> Sequence[Verdict]:
        """One verdict for each input, all asked at once, within SECONDS."""
        deadline = Deadline.after(self.service.clock, SECONDS)
        asked = [gevent.spawn(self._verdict, made, deadline) for made in inputs]
        return [greenlet.get() for greenlet in asked]

    def probe(self) -> None:
        """Ask about a harmless word. Raises ImageError; for an unknown category it lists the known ones."""
        judged = self._asked("Hello", Deadline.after(self.service.clock, SECONDS)).results[0]
        known = {**judged.categories, **judged.category_scores}
        unknown = [name for name in self.thresholds if known and name not in known]
        if unknown:
            raise BadRequest(
                f"The moderation endpoint has no category {', '.join(unknown)}",
                next_step=f"Write some of {', '.join(known)} into `thresholds` in {self.where}",
            )

    def _verdict(self, made: Callable[[], Input], deadline: Deadline) -> Verdict:
        try:
            return tuple(dict.fromkeys(self._refused(self._asked(made(), deadline))))
        except (NotAnImageError, BrokenImageError) as error:
            return BadRequest("The image could not be decoded", str(error))
        except ImageError as error:
            logger.warning("moderation: %s", error)
            return error

    def _asked(self, asked: Input, deadline: Deadline) -> _Judgement:
        attempt = "Checking with the moderation endpoint"
        body = {"input": asked, **({"model": self.model} if self.model else {})}
        try:
            reply = self.service.request(
                "POST", _PATH, attempt=attempt, deadline=deadline, json=body, read_timeout=SECONDS, retries=_RETRIES
            )
            return parse(reply, _Judgement, attempt=attempt)
        except ImageError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: ImageError) -> ImageError:
        """The endpoint's failure in the caller's words: the request is not at fault, and no job is waited for."""
        known = isinstance(error, (AuthorizationFailed, ConnectionFailed))
        kind = type(error) if known and not isinstance(error, TimedOutError) else ServerUnavailable
        said = f"it did not reply within {SECONDS:g} seconds" if isinstance(error, TimedOutError) else error.said
        field = self.key if kind is AuthorizationFailed else self.where
        advice = f"Check {field}; with `on_error=allow` in the query of the address, requests pass without moderation"
        return kind(error.attempted, said, advice)

    def _refused(self, judgement: _Judgement) -> Iterator[str]:
        for judged in judgement.results:
            scores = judged.category_scores
            yield from (name for name, most in self.thresholds.items() if (scores.get(name) or 0.0) >= most)
            named = [name for name, flagged in judged.categories.items() if flagged]
            yield from (name for name in named if name not in self.thresholds)
            if judged.flagged and not named:
                yield "no category named"


def check_moderation(settings: Settings) -> None:
    """Ask the endpoint when a form is saved. Raises ImageError."""
    Moderation.read(settings).probe()


def _explained(reply: Reply) -> Explanation:
    """A question costs nothing: it may be repeated after any refusal for the moment."""
    meaning = plain_explanation(reply)
    passing = reply.status == 429 or reply.status >= 500  # noqa: PLR2004
    return replace(meaning, retry_after=0.0) if passing else meaning


def _options(query: str, where: str) -> Mapping[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, allowed in {"on_error": ("allow", "refuse"), "images": ("on", "off")}.items():
        if options.get(name, allowed[0]) not in allowed:
            raise BadRequest(
                f"`{name}={options[name][:40]}` in {where} cannot be read", next_step=f"Write {' or '.join(allowed)}"
            )
    if unknown := sorted(set(options) - _OPTIONS):
        raise BadRequest(
            f"`{unknown[0][:40]}` in the query of {where} is not known",
            next_step=f"Write some of {', '.join(sorted(_OPTIONS))}",
        )
    return options


def _thresholds(text: str, where: str) -> Mapping[str, float]:
    """`sexual:0.4,violence:0.8`. Raises BadRequest."""
    thresholds: dict[str, float] = {}
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        name, _, score = entry.rpartition(":")
        try:
            thresholds[name.strip()] = float(score)
        except ValueError:
            score = "nan"
        if not name or not 0.0 <= float(score) <= 1.0:
            raise BadRequest(
                f"`{entry[:40]}` in `thresholds` in {where} cannot be read",
                next_step="Write a category and a score from 0 to 1, like `sexual:0.4`",
            )
    return thresholds


# --- what is checked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestModeration:
    """Texts and input images, before anything is spent on them."""

    moderation: Moderation

    def __call__(self, request: ImageRequest, _: Carried) -> ImageRequest:
        text = _text_of(request)
        checks: dict[str, Callable[[], Input]] = {"The prompt": lambda: text} if text else {}
        if self.moderation.images:
            named = f"Input image {{}} of {len(request.images)}" if len(request.images) > 1 else "The input image"
            checks |= {
                named.format(number): partial(_image, image.data) for number, image in enumerate(request.images, 1)
            }
        verdicts = dict(zip(checks, self.moderation.verdicts(list(checks.values())), strict=True))
        for name, verdict in verdicts.items():
            if verdict and not isinstance(verdict, ImageError):
                raise _refusal(name, verdict, "Change it and try again")
        for name, verdict in verdicts.items():
            request = request.with_notices(*_unchecked(self.moderation, name, verdict))
        return request


@dataclass(frozen=True, slots=True)
class ResultModeration:
    """The images of a service. A refused one is left out, and the request fails when none is left."""

    moderation: Moderation

    def __call__(self, result: ImageResult, carried: Carried) -> ImageResult:
        if result.cached:  # checked before it was cached
            return result
        result = result.priced(carried.price_per_image)
        verdicts = self.moderation.verdicts([partial(self._shown, image) for image in result.images])
        kept: list[GeneratedImage] = []
        notices: list[str] = []
        refusals: list[ImageError] = []
        for number, (image, verdict) in enumerate(zip(result.images, verdicts, strict=True)):
            try:
                notices += self._passed(result.name_of(number), verdict)
                notices += _one_frame(result, number)
                kept.append(image)
            except ImageError as error:
                refusals.append(error)
                notices.append(f"{error.attempted} and was left out: {error.said}.")
        if not kept:
            refusals[0].made = result
            raise refusals[0]
        return replace(result, images=tuple(kept), notices=(*result.notices, *notices))

    def _shown(self, image: GeneratedImage) -> Input:
        """What is checked: of a video its frame. Raises BadRequest for a video without one."""
        if not image.is_video:
            return _image(image.data)
        if image.poster is None:
            step = f"Write `images=off` into the query of {self.moderation.where} to deliver videos unchecked"
            raise BadRequest("The video cannot be moderated", "the service gave no frame of it", step)
        return _image(image.poster)

    def _passed(self, name: str, verdict: Verdict) -> Sequence[str]:
        if verdict and not isinstance(verdict, ImageError):
            raise _refusal(name, verdict, "The service may have billed it; change the prompt and try again")
        return _unchecked(self.moderation, name, verdict)


def _one_frame(result: ImageResult, number: int) -> Sequence[str]:
    return (f"{result.name_of(number)} was moderated by one frame.",) if result.images[number].is_video else ()


def _refusal(name: str, categories: Sequence[str], next_step: str) -> BadRequest:
    return BadRequest(f"{name} was refused by moderation", f"category {', '.join(categories)}", next_step)


def _unchecked(moderation: Moderation, name: str, verdict: Verdict) -> Sequence[str]:
    """A notice about what the endpoint could not check. Raises its error unless the owner allows that.

    An image that does not decode is never allowed: it could hide from the endpoint what the service sees.
    """
    if not isinstance(verdict, ImageError):
        return ()
    if moderation.on_error != "allow" or isinstance(verdict, BadRequest):
        raise type(verdict)(f"{name} could not be moderated", verdict.said, verdict.next_step)
    return (f"{name} was not moderated, because the endpoint failed; the owner allows that.",)


def _text_of(request: ImageRequest) -> str:
    return "\n".join(filter(None, (*request.texts, request.negative_prompt)))


def _image(data: bytes) -> Input:
    sent, mime_type = data, sniff(data).mime_type
    if len(data) > _SMALL or mime_type not in _SENDABLE:
        sent, mime_type = in_thread(_copy, data), "image/jpeg"
    url = f"data:{mime_type};base64,{base64.b64encode(sent).decode()}"
    return [{"type": "image_url", "image_url": {"url": url}}]


def _copy(data: bytes) -> bytes:
    """A JPEG of at most _SIDE pixels on its longest side; of an animation, its first frame."""
    from models.images import codec  # noqa: PLC0415 -- small files are sent without Pillow

    image = codec.plain(codec.decode(data))
    image.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    return codec.encode(image, "jpeg", _COPY_QUALITY)
