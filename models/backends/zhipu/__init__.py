"""Zhipu (bigmodel.cn, Z.ai): GLM-Image and CogView. Each image is one call that answers with an address.

Source: docs.bigmodel.cn and docs.z.ai, image generation.
"""

from collections.abc import Mapping, Sequence
from typing import override

from pydantic import JsonValue

from models.backends.base import PROBE_SECONDS
from models.backends.calls import CallBackend, CallFacts
from models.backends.http import without_nulls
from models.backends.images import ImageFetcher, parsed
from models.backends.partial import Partial, each
from models.backends.refusals import RefusalTable
from models.clock import Deadline
from models.entities import ImageRequest

GENERATE = "Generating with Zhipu"
_READ_SECONDS = 180.0


class Zhipu(CallBackend[CallFacts]):
    name = "zhipu"
    title = "Zhipu"
    prefix = "zhipu"
    required = ("api_key",)
    home = "https://open.bigmodel.cn/api/paas/v4"
    refusals = RefusalTable.beside(__file__)
    facts_type = CallFacts
    like = "cogview-4"

    @override
    def check_access(self) -> Sequence[str]:
        self.service.request("GET", "models", attempt=f"Checking {self.title}", deadline=self.within(PROBE_SECONDS))
        return ()

    @override
    def _call(self, request: ImageRequest, place: int, deadline: Deadline) -> Partial:
        path, service, body = "images/generations", self.service, body_of(self.facts.model, request)
        reply = service.request(
            "POST", path, attempt=GENERATE, deadline=deadline, json=body, read_timeout=_READ_SECONDS
        )
        fetcher = ImageFetcher(service=service, attempt=GENERATE, deadline=deadline)
        return each(lambda image: fetcher.image(image, None), parsed(reply, GENERATE).images)


def body_of(model: str, request: ImageRequest) -> Mapping[str, JsonValue]:
    body: dict[str, JsonValue] = {
        "model": model,
        "prompt": request.prompt,
        "size": f"{request.size[0]}x{request.size[1]}" if request.size else None,
        "watermark_enabled": request.watermark,
    }
    return without_nulls(body)
