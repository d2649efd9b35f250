"""What the input images of a video are, by their order: its first and last frame, or references."""

from models.backends.errors import BadRequest
from models.entities import ImageRequest

FRAMES = ("first_frame", "last_frame")
REFERENCE = "reference_image"


def roles(request: ImageRequest) -> tuple[str, ...]:
    """What each input image is, by their order."""
    return FRAMES[: len(request.images)] if _are_frames(request) else (REFERENCE,) * len(request.images)


def check_frames(request: ImageRequest, model: str, *, references: bool) -> None:
    """Refuse more images than frames. `references`: the model also takes images of what appears. Raises BadRequest."""
    if len(request.images) > len(FRAMES) and _are_frames(request):
        step = "Set `input_mode` to references" if references else "Send fewer"
        raise BadRequest(f"{model} takes the first and the last frame", next_step=step)


def _are_frames(request: ImageRequest) -> bool:
    return request.extra.get("input_mode", "frames") == "frames"
