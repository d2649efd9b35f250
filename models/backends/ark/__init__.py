"""ByteDance Ark (Volcengine, BytePlus): the Seedream models here, the Seedance video models in `seedance`.

One endpoint makes and edits images; each image is one call.

Source: ModelArk image generation API and error codes (docs.byteplus.com ModelArk, volcengine.com 82379).
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import override

from pydantic import JsonValue

from models.backends.ark.account import ArkAccount, ArkFault
from models.backends.ark.seedance import Seedance
from models.backends.base import PROBE_SECONDS, Backend
from models.backends.calls import CallBackend, CallFacts
from models.backends.http import without_nulls
from models.backends.images import ImageFetcher, parsed
from models.backends.partial import Partial, each
from models.clock import Clock, Deadline
from models.entities import ImageRequest
from models.images.inputs import InputLimits
from models.settings import Settings

GENERATE = "Generating with Ark"
_READ_SECONDS = 300.0


class SeedreamFacts(CallFacts):
    """`formats`: the model takes `output_format`; the others make JPEG."""

    formats: bool = False


class Ark(ArkAccount, CallBackend[SeedreamFacts]):
    facts_type = SeedreamFacts
    like = "seedream-4.5"
    input_limits = InputLimits(formats=("png", "jpeg", "webp"), max_bytes=10_000_000, min_side=15, max_side=2048)

    @override
    @classmethod
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> Backend:
        """A model that makes videos is bound to a class of its own, an endpoint by the name that its owner gave it."""
        is_video = "seedance" in f"{name} {settings.text('remote_model')}".casefold()
        return Seedance.bind(name, settings, clock) if is_video else super().bind(name, settings, clock)

    @override
    def check_access(self) -> Sequence[str]:
        """The image endpoint refuses a GET by a good key as a wrong method, by a bad one as unauthorized."""
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
            failures=tuple(self.fault(GENERATE, ArkFault.of(one)) for one in found.faults)
        )

    @property
    def _remote(self) -> str:
        return self.at_service(self.facts.model)


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
    return without_nulls(body)
