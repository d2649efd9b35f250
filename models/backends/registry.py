"""The registry: one line per backend."""

from collections.abc import Mapping

from models.backends.automatic1111 import Automatic1111
from models.backends.base import Backend
from models.backends.comfyui.backend import ComfyUIBackend
from models.backends.errors import BadRequest
from models.backends.openai_images import OpenAIImages
from models.backends.preview import Preview
from models.backends.qwen_image import QwenImage
from models.backends.stability import Stability
from models.catalog import cards
from models.clock import Clock
from models.parameters import RULES
from models.settings import is_custom

BACKENDS: Mapping[str, type[Backend]] = {
    "automatic1111": Automatic1111,
    "openai_images": OpenAIImages,
    "preview": Preview,
    "stability": Stability,
    "qwen_image": QwenImage,
    "comfyui": ComfyUIBackend,
}

COMMON_RULES = tuple(RULES[name] for name in ("seed", "output_format", "output_quality", "details", "timeout"))
"""The parameters that every model has, whatever its backend can tell."""


def bind(name: str, credentials: Mapping[str, object], clock: Clock | None = None) -> Backend:
    """The backend for a model name and a credential form, ready for one call.

    Raises BadRequest for a name that is neither predefined nor backed by a customizable model's own form.
    """
    return _class_for(name, credentials).bind(name, credentials, clock)


def _class_for(name: str, credentials: Mapping[str, object]) -> type[Backend]:
    if is_custom(credentials):
        asked = str(credentials["backend"])
        usable = [key for key, backend in BACKENDS.items() if backend.customizable]
        if asked not in usable:
            raise BadRequest(f"There is no backend {asked!r}", next_step=f"Choose one of {', '.join(usable)}")
        return BACKENDS[asked]
    card = cards().get(name)
    if card is None:
        raise BadRequest(f"There is no model {name!r}", next_step=f"Choose one of {', '.join(cards())}")
    return BACKENDS[card.backend]
