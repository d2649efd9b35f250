"""Input images and masks on their way to the server.

Reference: ComfyUI server API, "Uploads": the input folder is shared by all users and never tidied up, so names are
unguessable and lie in a folder of their own; the server's answer names the file.
"""

import uuid
from functools import partial

from PIL import ImageOps

from models.backends.comfyui.client import Server
from models.backends.errors import BadRequest, ImageError
from models.clock import Deadline
from models.entities import InputImage
from models.images.codec import BrokenImageError, decode, encode, has_alpha, in_thread
from models.images.sniff import NotAnImageError

FOLDER = "dify"
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "image/bmp": "bmp"}


def upload(server: Server, image: InputImage, *, deadline: Deadline) -> str:
    """Store an image under a name of its own; the answer is the value for a LoadImage node. Raises ImageError."""
    name = f"{uuid.uuid4()}.{_SUFFIXES.get(image.mime_type, 'png')}"
    send = partial(server.upload, name, image.data, image.mime_type, subfolder=FOLDER, deadline=deadline)
    try:
        return send().as_input
    except ImageError as error:
        if not error.transient:
            raise
        return send().as_input  # the same bytes under the same name are the same file


def upload_mask(server: Server, mask: InputImage, *, deadline: Deadline) -> str:
    """Store a mask as an image that is white where to repaint. Raises ImageError."""
    try:
        data = in_thread(white_where_repainted, mask.data)
    except (NotAnImageError, BrokenImageError) as error:
        raise BadRequest("The mask cannot be read", str(error), "Send the mask as a PNG image") from None
    return upload(server, InputImage(data, "image/png"), deadline=deadline)


def white_where_repainted(data: bytes) -> bytes:
    """A mask in either convention as PNG: transparent means repaint where anything is transparent, else white does."""
    image = decode(data)
    if has_alpha(image):
        return encode(ImageOps.invert(image.convert("RGBA").getchannel("A")).convert("RGB"), "png")
    return encode(image.convert("L").convert("RGB"), "png")
