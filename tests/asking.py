"""Requests for backend tests, resolved like in the plugin, without the host's messages."""

from collections.abc import Mapping

from dify_plugin.entities.model.message import ImagePromptMessageContent
from pydantic import JsonValue

from models.backends import registry
from models.backends.base import Backend
from models.clock import Clock
from models.entities import ImageRequest, Price
from models.output.structured import OutputOptions
from models.request.build import settle
from models.settings import Settings
from models.sizes import Wish
from models.stages.audit import Receipt
from models.stages.carried import Carried

_WISH = ("width", "height", "aspect_ratio", "seed")


def image_part(base64_data: str = "", url: str = "", filename: str = "") -> ImagePromptMessageContent:
    """An image as the host sends it."""
    return ImagePromptMessageContent(
        format="png", mime_type="image/png", base64_data=base64_data, url=url, filename=filename
    )


def bound(model: str, credentials: Mapping[str, object], clock: Clock | None = None) -> Backend:
    """The backend of a model name and a credential form, without the environment of the machine."""
    return registry.bind(model, Settings(credentials, {}), clock)


def rules_of(schema: Mapping[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """The rules of the parameters in a model's schema, as the host gets it."""
    rules = schema["parameter_rules"]
    assert isinstance(rules, list)
    return [rule for rule in rules if isinstance(rule, dict)]


def asked(backend: Backend, prompt: str = "a red fox in the snow", **parts: object) -> ImageRequest:
    """The resolved request of `parts`: fields of ImageRequest, and width, height, aspect_ratio and seed as requested."""
    wish = Wish(**{name: parts.pop(name) for name in _WISH if name in parts})  # type: ignore[arg-type]
    request = ImageRequest(model=backend.model.name, prompt=prompt, **parts)  # type: ignore[arg-type]
    return settle(request, wish, backend)


def sent_with(call: object, name: str) -> object:
    """An option with which a recorded request was sent, such as its `timeout`."""
    options: Mapping[str, object] = call.request.req_kwargs  # type: ignore[attr-defined]
    return options[name]


def carried(
    options: OutputOptions | None = None,
    *,
    price_per_image: Price | None = None,
    has_negative_prompt: bool = False,
    **facts: object,
) -> Carried:
    """What stages get beside a request or a result; `facts` are fields of the receipt."""
    receipt = {"time": 1_790_000_000.0, "user": "user-1", "model": "preview", "backend": "preview", **facts}
    return Carried(
        receipt=Receipt(**receipt),  # type: ignore[arg-type]
        options=options or OutputOptions(),
        price_per_image=price_per_image,
        has_negative_prompt=has_negative_prompt,
    )
