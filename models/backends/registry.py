"""The registry: one line per backend."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.catalog import cards
from models.clock import Clock
from models.parameters import RULES
from models.settings import Settings

_CLASSES: Mapping[str, str] = {
    "automatic1111": "Automatic1111",
    "openai_images": "OpenAIImages",
    "preview": "Preview",
    "stability": "Stability",
    "qwen_image": "QwenImage",
    "comfyui": "ComfyUI",
    "openrouter": "OpenRouter",
}
"""The class that each backend's folder exports. It is imported on first use, so that the process starts faster."""

COMMON_RULES = tuple(RULES[name] for name in ("seed", "output_format", "output_quality", "details", "timeout"))
"""The parameters that every model has."""


class _Backends(Mapping[str, type[Backend]]):
    def __getitem__(self, name: str) -> type[Backend]:
        class_name = _CLASSES[name]
        found: type[Backend] = getattr(import_module(f"models.backends.{name}"), class_name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


BACKENDS: Mapping[str, type[Backend]] = _Backends()


def bind(name: str, settings: Settings, clock: Clock | None = None) -> Backend:
    """The backend for a model name and a credential form, ready for one call.

    Raises BadRequest for a name that is neither predefined nor backed by a customizable model's own form.
    """
    return _class_for(name, settings).bind(name, settings, clock)


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
