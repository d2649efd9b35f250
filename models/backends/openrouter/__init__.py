"""OpenRouter: many vendors' image models behind one key and one bill.

Each image is one call, sent concurrently to the API that serves the model; `wire.py` has the request and reply bodies.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import ClassVar, Literal, override

from pydantic import BaseModel, JsonValue

from models.backends.base import PROBE_SECONDS, Model
from models.backends.cache import ServerCache
from models.backends.calls import CallBackend, CallFacts
from models.backends.errors import BadRequest, ServerUnavailable
from models.backends.http import without_nulls
from models.backends.images import ImageFetcher, parsed
from models.backends.partial import Partial, each
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply, parse, said_by, spelled
from models.clock import Clock, Deadline
from models.entities import ImageRequest, ImageResult, Price
from models.images.inputs import InputLimits
from models.parameters import RULES, Rule, load_rules
from models.sizes import RatioSizes, SeedRule

RATIOS = RatioSizes(ratios=("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"))
MOST_IMAGES = 8
_OWN_RULES = load_rules(Path(__file__).with_name("parameters.yaml"))
_COMMON = ("aspect_ratio", "width", "height", "n", "output_format", "output_quality", "details", "timeout")

type Body = Mapping[str, object]


class ModelFacts(CallFacts):
    """One model: its name at OpenRouter, the API that serves it, and how many input images it takes."""

    sizes: RatioSizes = RATIOS
    images: int = MOST_IMAGES
    api: Literal["images", "chat/completions"] = "images"


class ModelRecord(BaseModel):
    """One entry of `GET /images/models`: `supported_parameters` names the parameters that the images API accepts."""

    id: str
    supported_parameters: Mapping[str, Mapping[str, JsonValue]] = {}

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(model=self.id, images=MOST_IMAGES if "input_references" in self.supported_parameters else 0)


class ModelRecords(BaseModel):
    data: tuple[ModelRecord, ...]


class KeyReply(BaseModel):
    """`GET /key`: limits and usage in USD; null means no limit."""

    data: Mapping[str, JsonValue]


_RECORDS: ServerCache[tuple[ModelRecord, ...]] = ServerCache(seconds=600)


class OpenRouter(CallBackend[ModelFacts]):
    name = "openrouter"
    title = "OpenRouter"
    prefix = "openrouter"
    required = ("api_key",)
    home = "https://openrouter.ai/api/v1"
    refusals = RefusalTable.beside(__file__)
    extra_rules: ClassVar[tuple[Rule, ...]] = _OWN_RULES
    facts_type = ModelFacts
    like = "openrouter-seedream-4.5"
    input_limits = InputLimits(keep_alpha=True)

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        if not self.known:
            self.facts, self._rules = ModelFacts(model=model.remote), tuple(RULES[name] for name in _COMMON)
        self._costs: list[Decimal] = []  # of the calls, in USD

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return SeedRule(highest=2**31 - 1) if any(rule.name == "seed" for rule in self._rules) else None

    @override
    def learn(self, deadline: Deadline) -> None:
        if self.known:
            return
        remote = self.model.remote
        record = next((record for record in self._records(deadline) if record.id == remote), None)
        self.known = True
        self.facts = record.facts if record else ModelFacts(model=remote, api="chat/completions")
        self._rules = (*self._rules[:4], *(_own_rules(record) if record else ()), *self._rules[4:])

    def _records(self, deadline: Deadline) -> tuple[ModelRecord, ...]:
        if (known := _RECORDS.get(self.service)) is None:
            attempt = f"Asking {self.title} for its models"
            reply = self.service.request("GET", "images/models", attempt=attempt, deadline=deadline)
            known = parse(reply, ModelRecords, attempt=attempt).data
            _RECORDS.put(self.service, known)
        return known

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        self.learn(deadline)
        return self._rules

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.learn(deadline)
        self.check_inputs(request)  # once more: the model may have been unknown before
        return super()._generate(request, deadline)

    @override
    def _call(self, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        service, attempt = self.service, f"Generating with {self.title}"
        seed = request.seeds[place] if request.seeds else None
        wait, body = deadline.remaining, body_of(self.facts, request, seed)
        path = self.facts.api
        reply = service.request("POST", path, attempt=attempt, deadline=deadline, json=body, read_timeout=wait)
        self._costs.extend(_cost(reply))
        found = parsed(reply, attempt).images
        if not found:
            raise service.failure(attempt, self._without_image(reply))
        fetcher = ImageFetcher(service=service, attempt=attempt, deadline=deadline)
        return each(lambda image: fetcher.image(image, seed), found)

    @override
    def _price(self, request: ImageRequest, images: int) -> Price | None:
        return Price(sum(self._costs, Decimal(0)), "USD") if self._costs else None

    def _without_image(self, reply: Reply) -> Explanation:
        match reply.json():
            case {"error": error} if error:
                return self.explain(reply)
            case {"choices": [{"message": {"content": str(words)}}, *_]} if words:
                step = "Change the prompt or the input images"
                return Explanation(error=BadRequest, said=f"the model replied with text: {words}", next_step=step)
            case _:
                step = "Check OpenRouter's activity page before sending it again"
                return Explanation(error=ServerUnavailable, said="the reply has no image", next_step=step)

    @override
    def explain(self, reply: Reply) -> Explanation:
        return self.refusals.explain(Fault.read(reply, said=_said(reply)), self.model.access)

    @override
    def check_access(self) -> Sequence[str]:
        attempt = f"Checking {self.title}"
        reply = self.service.request("GET", "key", attempt=attempt, deadline=self.within(PROBE_SECONDS))
        left = parse(reply, KeyReply, attempt=attempt).data.get("limit_remaining")
        return [f"{left} USD of the key's limit are left."] if left is not None else []


def _own_rules(record: ModelRecord) -> list[Rule]:
    """The parameters beyond the common ones that a model's record names, with its choices."""
    rules = [rule for rule in (RULES["seed"], *_OWN_RULES) if rule.name in record.supported_parameters]
    values = [record.supported_parameters[rule.name].get("values") for rule in rules]
    return [rule.narrowed(options=own or rule.options) for rule, own in zip(rules, values, strict=True)]


def _cost(reply: Reply) -> list[Decimal]:
    """In USD, if the reply reports it."""
    match reply.json():
        case {"usage": {"cost": int() | float() as cost}}:
            return [Decimal(str(cost))]
        case _:
            return []


def _said(reply: Reply) -> str:
    """The words of an error with those of the model's provider."""
    match reply.json():
        case {"error": {"metadata": dict(metadata)}}:
            return f"{said_by(reply)} ({spelled(metadata)})"
        case _:
            return said_by(reply)


def body_of(facts: ModelFacts, request: ImageRequest, seed: int | None) -> Body:
    ratio = RATIOS.nearest_ratio(request.size) if request.size else None
    images = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in request.images]
    if facts.api == "images":
        own = {"aspect_ratio": ratio, **request.extra, "seed": seed, "input_references": images or None}
        return {"model": facts.model, "prompt": request.prompt, **without_nulls(own)}
    config = without_nulls({"aspect_ratio": ratio, "image_size": request.extra.get("resolution")})
    return {
        "model": facts.model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": request.prompt}, *images]}],
        "modalities": ["image", "text"],
        **({"image_config": config} if config else {}),
    }
