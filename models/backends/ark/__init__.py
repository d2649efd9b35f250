"""ByteDance Ark (Volcengine, BytePlus): the Seedream models. One endpoint makes and edits images; each image is one call.

Source: ModelArk image generation API and error codes (docs.byteplus.com ModelArk, volcengine.com 82379).
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import override

from pydantic import JsonValue

from models.backends.base import PROBE_SECONDS
from models.backends.calls import CallBackend, CallFacts
from models.backends.errors import ImageError
from models.backends.images import ImageFetcher, parsed
from models.backends.partial import Partial, each
from models.backends.refusals import Fault, RefusalTable
from models.clock import Deadline
from models.entities import ImageRequest
from models.images.inputs import InputLimits

GENERATE = "Generating with Ark"
_READ_SECONDS = 300.0


class SeedreamFacts(CallFacts):
    """`formats`: the model takes `output_format`; the others make JPEG."""

    formats: bool = False


class Ark(CallBackend[SeedreamFacts]):
    name = "ark"
    title = "Ark"
    prefix = "ark"
    required = ("api_key",)
    home = "https://ark.cn-beijing.volces.com/api/v3"
    refusals = RefusalTable.beside(__file__)
    facts_type = SeedreamFacts
    like = "seedream-4.5"
    input_limits = InputLimits(formats=("png", "jpeg", "webp"), max_bytes=10_000_000, min_side=15, max_side=2048)

    @override
    def check_access(self) -> Sequence[str]:
        """The image endpoint refuses a GET by a good key as a wrong method, by a bad one as unauthorized."""
        self.require_access()
        accept = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        attempt, deadline = f"Checking {self.title}", self.within(PROBE_SECONDS)
        self.service.request("GET", "images/generations", attempt=attempt, deadline=deadline, accept=accept)
        return ()

    @override
    def _call(self, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        body = body_of(self.facts, self._remote, request)
        path, service = "images/generations", self.service
        reply = service.request(
            "POST", path, attempt=GENERATE, deadline=deadline, json=body, read_timeout=_READ_SECONDS
        )
        found = parsed(reply, GENERATE)
        fetcher = ImageFetcher(service=service, attempt=GENERATE, deadline=deadline, kept="24 hours")
        return each(lambda image: fetcher.image(image, None), found.images) + Partial(
            failures=tuple(map(self._failure, found.faults))
        )

    @property
    def _remote(self) -> str:
        """The international service names its models without "doubao-". An endpoint `ep-...` is used as it is."""
        model = self.facts.model
        return model.removeprefix("doubao-") if "bytepluses" in self.address else model

    def _failure(self, fault: object) -> ImageError:
        code, message = (
            (str(fault.get(key) or "") for key in ("code", "message")) if isinstance(fault, dict) else ("", "")
        )
        meaning = self.refusals.explain(Fault(said=message or code, codes=(code,)), self.model.access)
        return self.service.failure(GENERATE, meaning)


def body_of(facts: SeedreamFacts, model: str, request: ImageRequest) -> Mapping[str, JsonValue]:
    images: list[JsonValue] = [image.data_url for image in request.images]
    body: dict[str, JsonValue] = {
        "model": model,
        "prompt": request.prompt,
        "image": (images[0] if len(images) == 1 else images) or None,
        "size": f"{request.size[0]}x{request.size[1]}" if request.size else None,
        "response_format": "b64_json",
        "watermark": bool(request.watermark),
        "output_format": ("png" if request.output_format == "png" else "jpeg") if facts.formats else None,
    }
    return {name: value for name, value in body.items() if value is not None}
