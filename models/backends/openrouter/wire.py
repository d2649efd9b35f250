"""What OpenRouter is sent, and the facts about a model that decide it. Pure: nothing is sent here.

Source: OpenRouter's API reference, November 2026. Models that only make images are served by the images API; models
that also write text by chat completions.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, JsonValue

from models.entities import ImageRequest
from models.sizes import RatioSizes

RATIOS = RatioSizes(ratios=("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"))
MOST_IMAGES = 8

type Body = Mapping[str, object]


class ModelFacts(BaseModel):
    """One model: its name at OpenRouter, the API that serves it, and how many input images it takes."""

    model: str
    api: Literal["images", "chat/completions"] = "images"
    images: int = MOST_IMAGES


class ModelRecord(BaseModel):
    """One entry of `GET /images/models`: `supported_parameters` names what the images API may be sent."""

    id: str
    supported_parameters: Mapping[str, Mapping[str, JsonValue]] = {}

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(model=self.id, images=MOST_IMAGES if "input_references" in self.supported_parameters else 0)


class ModelRecords(BaseModel):
    data: tuple[ModelRecord, ...]


class KeyReply(BaseModel):
    """`GET /key`: limits and usage in USD; a limit of null is none."""

    data: Mapping[str, JsonValue]


def body_of(facts: ModelFacts, request: ImageRequest, seed: int | None) -> Body:
    """The body that asks for one image."""
    ratio = RATIOS.nearest_ratio(request.size) if request.size else None
    images = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in request.images]
    if facts.api == "images":
        own = {"aspect_ratio": ratio, **request.extra, "seed": seed, "input_references": images or None}
        return {"model": facts.model, "prompt": request.prompt, **_given(own)}
    config = _given({"aspect_ratio": ratio, "image_size": request.extra.get("resolution")})
    return {
        "model": facts.model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": request.prompt}, *images]}],
        "modalities": ["image", "text"],
        **({"image_config": config} if config else {}),
    }


def _given(values: Body) -> Body:
    return {key: value for key, value in values.items() if value is not None}
