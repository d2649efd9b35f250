"""The input images of a conversation: fetched, read, and the mask told from the images."""

import re
from collections.abc import Iterable, Sequence

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.backends.http import MIB, TooLargeError
from models.backends.images import download
from models.clock import Deadline
from models.entities import InputImage, from_base64
from models.request.conversation import Conversation, ImagePart

FETCH_SECONDS = 60.0
MAX_INPUT_BYTES = 32 * MIB
_MASK = re.compile(r"(?i)(?<![a-z])masks?(?![a-z])")


def images_and_mask(backend: Backend, conversation: Conversation) -> tuple[tuple[InputImage, ...], InputImage | None]:
    """The images of the current turn in their order, and the mask among them.

    An editing model that got none takes the latest image of an earlier turn. Raises BadRequest for more images than
    the model takes and for one that cannot be read, ConnectionFailed for an address that does not answer.
    """
    able = backend.capabilities
    parts = list(conversation.images)
    if not parts and able.min_images and conversation.earlier:
        parts = [conversation.earlier]
    if able.images == 0:
        backend.check_image_count(len(parts))
        return (), None
    images = [read_part(part, backend) for part in parts]
    # A file that calls itself a mask stays one where the model takes none: it is refused by name, not painted from.
    second_is_mask = able.mask and able.second_image == "mask"
    return split_mask(images, second_is_mask=second_is_mask, alpha_is_mask=second_is_mask or able.alpha_is_mask)


def split_mask(
    images: Sequence[InputImage], *, second_is_mask: bool, alpha_is_mask: bool
) -> tuple[tuple[InputImage, ...], InputImage | None]:
    """Tell the mask from the images.

    It is the one whose file name has the word and that looks like one, else the last of two, else the alpha channel of
    the only one.
    """
    if len(images) > 1:
        mask = _named_mask(images) or (images[-1] if second_is_mask and len(images) == 2 else None)  # noqa: PLR2004
        return tuple(image for image in images if image is not mask), mask
    if not images or not alpha_is_mask:
        return tuple(images), None
    from models.images.inputs import alpha_mask  # noqa: PLC0415 -- most requests have no images and need no Pillow

    return tuple(images), alpha_mask(images[0])


def _named_mask(images: Iterable[InputImage]) -> InputImage | None:
    named = [image for image in images if _MASK.search(image.filename)]
    if not named:
        return None
    from models.images.inputs import looks_like_mask  # noqa: PLC0415 -- see `split_mask`

    return next(filter(looks_like_mask, named), None)


def read_part(part: ImagePart, backend: Backend) -> InputImage:
    """The bytes of an image, sent as base64 or behind an address (private ones too: the host's own links are)."""
    from models.images.inputs import read_input  # noqa: PLC0415 -- see `split_mask`

    name = part.filename or "The input image"
    encoded = part.base64_data or (part.url if part.url.startswith("data:") else "")
    if encoded:
        return read_input(_decoded(encoded, name), part.filename)
    if not part.url:
        raise BadRequest(f"{name} came without content", next_step="Choose the file again")
    if part.url.startswith("/"):
        raise BadRequest(
            f"{name} came as a link without an address, {part.url[:100]}",
            next_step="Set FILES_URL in Dify's environment, or MULTIMODAL_SEND_FORMAT=base64",
        )
    return read_input(_fetched(part, backend), part.filename)


def _fetched(part: ImagePart, backend: Backend) -> bytes:
    try:
        return download(
            part.url,
            attempt=f"Fetching {part.filename or 'the input image'}",
            clock=backend.clock,
            deadline=Deadline.after(backend.clock, FETCH_SECONDS),
            max_bytes=MAX_INPUT_BYTES,
            allow_private=True,
        ).body
    except TooLargeError:
        raise BadRequest(
            f"{part.filename or 'The input image'} is larger than {MAX_INPUT_BYTES // MIB} MiB",
            next_step="Send a smaller file",
        ) from None


def _decoded(text: str, name: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError:
        raise BadRequest(f"{name} is not valid base64", next_step="Choose the file again") from None
