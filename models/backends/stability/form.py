"""What the forms of both families share."""

from models.backends.stability.facts import DEFAULT_STRENGTH
from models.entities import ImageRequest


def form_text(value: object) -> str:
    """A value as multipart carries it; floats without the noise of their last digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def strength(request: ImageRequest) -> float:
    """The denoising strength to use beside an input image."""
    return DEFAULT_STRENGTH if request.denoising_strength is None else request.denoising_strength
