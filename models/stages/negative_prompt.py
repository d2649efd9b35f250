"""The owner's default negative prompt: added to that of every request whose model has one.

Nobody is told: the owner wants it for every image, and one more notice on each would hide those that matter.
"""

from dataclasses import dataclass, replace

from models.entities import ImageRequest
from models.settings import Settings
from models.stages.carried import Carried

FIELD = "default_negative_prompt"


@dataclass(frozen=True, slots=True)
class DefaultNegativePrompt:
    """`text` follows the request's own negative prompt."""

    text: str

    @classmethod
    def read(cls, settings: Settings) -> "DefaultNegativePrompt":
        return cls(settings.text(FIELD))

    def __call__(self, request: ImageRequest, carried: Carried) -> ImageRequest:
        own = request.negative_prompt.strip().rstrip(",，")
        if not carried.has_negative_prompt or self.text in own:
            return request
        return replace(request, negative_prompt=f"{own}, {self.text}" if own else self.text)
