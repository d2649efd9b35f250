"""The registry: one line per backend."""

from collections.abc import Mapping
from pkgutil import resolve_name

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.backends.server_pool import pooled
from models.catalog import Lazy, cards
from models.clock import Clock
from models.parameters import RULES
from models.settings import Access, Settings

_CLASSES: Mapping[str, str] = {
    "auto": "models.backends.auto:Auto",
    "automatic1111": "models.backends.automatic1111:Automatic1111",
    "openai_images": "models.backends.openai_images:OpenAIImages",
    "contact_sheet": "models.backends.contact_sheet:ContactSheet",
    "preview": "models.backends.preview:Preview",
    "stability": "models.backends.stability:Stability",
    "qwen_image": "models.backends.qwen_image:QwenImage",
    "comfyui": "models.backends.comfyui:ComfyUI",
    "openrouter": "models.backends.openrouter:OpenRouter",
    "huggingface": "models.backends.huggingface:HuggingFace",
    "google": "models.backends.google:Google",
    "ark": "models.backends.ark:Ark",
    "zhipu": "models.backends.zhipu:Zhipu",
    "replicate": "models.backends.replicate:Replicate",
    "fal": "models.backends.fal:Fal",
    "black_forest_labs": "models.backends.black_forest_labs:BlackForestLabs",
}
"""The class that each backend's folder exports. It is imported on first use, so that the process starts faster."""

COMMON_RULES = tuple(RULES[name] for name in ("seed", "output_format", "output_quality", "details", "timeout"))
"""The parameters that every model has."""


BACKENDS: Mapping[str, type[Backend]] = Lazy(_CLASSES, resolve_name)


def bind(name: str, settings: Settings, clock: Clock | None = None) -> Backend:
    """The backend for a model name and a credential form, ready for one call.

    Raises BadRequest for a name that is neither predefined nor backed by a customizable model's own form.
    """
    return pooled(_class_for(name, settings).bind(name, settings, clock))


def is_filled(service: str, settings: Settings) -> bool:
    """Whether the provider's form has every field that a service needs."""
    backend = BACKENDS[service]
    access = Access.read(settings, backend.prefix)
    return all(getattr(access, name) for name in backend.required)


def _class_for(name: str, settings: Settings) -> type[Backend]:
    if settings.is_custom:
        asked = settings.text("backend")
        if asked not in BACKENDS or not BACKENDS[asked].customizable:
            usable = [name for name, backend in BACKENDS.items() if backend.customizable]
            raise BadRequest(f"There is no backend {asked!r}", next_step=f"Choose one of {', '.join(usable)}")
        return BACKENDS[asked]
    card = cards().get(name)
    if card is None:
        raise BadRequest(f"There is no model {name!r}", next_step=f"Choose one of {', '.join(cards())}")
    return BACKENDS[card.backend]
