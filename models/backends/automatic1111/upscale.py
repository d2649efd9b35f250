"""Upscaling of a given image, without painting (AUTOMATIC1111 API, section upscaling). Pure."""

from collections.abc import Iterator

from models.backends.automatic1111.names import Name
from models.backends.automatic1111.options import Options
from models.backends.automatic1111.wire import Upscale
from models.entities import ImageRequest, InputImage

UPSCALE_PATH = "/sdapi/v1/extra-single-image"
DEFAULT_UPSCALER = "Lanczos"  # needs no model file
DEFAULT_FACTOR = 2.0


def build_upscale(picture: InputImage, request: ImageRequest, options: Options, upscaler: Name | None) -> Upscale:
    """Enlarge by `upscale_by`; without it to width × height, else twice."""
    to_size = options.upscale_by is None and request.width is not None and request.height is not None
    return Upscale(
        image=picture.base64,
        upscaler_1=upscaler.sent if upscaler else DEFAULT_UPSCALER,
        resize_mode=1 if to_size else 0,
        upscaling_resize=None if to_size else options.upscale_by or DEFAULT_FACTOR,
        upscaling_resize_w=request.width if to_size else None,
        upscaling_resize_h=request.height if to_size else None,
        gfpgan_visibility=1.0 if options.restore_faces else None,
    )


def upscale_notices(request: ImageRequest, options: Options) -> Iterator[str]:
    if not options.upscaler:
        yield f"No upscaler was chosen: {DEFAULT_UPSCALER} enlarged the image without adding detail"
    if request.n > 1:
        yield "`n` was ignored: upscaling makes one image of each input image"
