"""The input images of a request: which is the init image, the mask and the ControlNet image, and the resulting sizes.

Imported only for requests with images, because Pillow is slow to load.
"""

from collections.abc import Iterator, Sequence

from PIL import Image
from pydantic import JsonValue

from models.backends.automatic1111.build import SIZES, InputRoles, Options
from models.backends.automatic1111.server_lists import Name
from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.images import in_thread
from models.images.codec import decode, encode, flatten, plain
from models.images.inputs import InputLimits, alpha_mask, fit, hard_edged, laid_on, looks_like_mask, size_of
from models.sizes import ONE_MEGAPIXEL, FreeSizes, NoSizes, Size, SizeRule, shaped, written

_DEFAULT_UPSCALING = 2.0
_DEFAULT_UPSCALER = "Lanczos"  # needs no model file
_OVERLAP = 8  # pixels along a new border that are regenerated, so that no seam shows

# For requests without a size: a photo at its own size may not fit into GPU memory.
_AFFORDABLE = SIZES.model_copy(update={"default": None, "max_area": ONE_MEGAPIXEL})
# The servers take any file size and format and scale images themselves; they ignore the EXIF orientation and
# fill transparency with a colour of their own.
_LIMITS = InputLimits()


def size_rule(first: InputImage, options: Options) -> SizeRule:
    """The sizes for a request with images: the first gives the default, outpainting and `upscale_by` fix the size."""
    own = size_of(first)
    if options.upscale_by:
        return NoSizes(default=_enlarged(own, options.upscale_by), reason="`upscale_by` sets the size")
    if options.upscales:
        return FreeSizes(default=_enlarged(own, _DEFAULT_UPSCALING))
    if options.outpaints:
        reason = "outpainting adds its borders to the image's own size"
        return NoSizes(default=_on_grid(_with_borders(_capped(own), options)), reason=reason)
    return SIZES.model_copy(update={"default": _AFFORDABLE.nearest(own)})


def _enlarged(size: Size, factor: float) -> Size:
    return round(size[0] * factor), round(size[1] * factor)


def _capped(size: Size) -> Size:
    return size if size[0] * size[1] <= ONE_MEGAPIXEL else shaped(size[0] / size[1], ONE_MEGAPIXEL)


def _with_borders(size: Size, options: Options) -> Size:
    return (
        size[0] + options.outpaint_left + options.outpaint_right,
        size[1] + options.outpaint_up + options.outpaint_down,
    )


def _on_grid(size: Size) -> Size:
    width, height = (max(SIZES.min_side, -(-side // SIZES.multiple) * SIZES.multiple) for side in size)
    return width, height


def assign_roles(request: ImageRequest, options: Options) -> InputRoles:
    """Assign roles to the images and prepare them. Outpainting puts the image on a larger canvas and makes the mask.

    Raises BadRequest for an unsupported combination.
    """
    images, mask, control = _roles(request, options)
    _check(images, mask, control, options)
    results = [fit(image, _LIMITS) for image in (*images, *([control] if control else []))]
    notices = [change for _, changes in results for change in changes]
    ready = [image for image, _ in results]
    steering = ready.pop() if control else None
    if options.upscales:
        return InputRoles(tuple(ready), notices=tuple(notices))
    if options.outpaints:
        ready[0], mask, changes = in_thread(_outpainted, ready[0], options)
        notices.extend(changes)
    elif mask:
        drawn, changes = laid_on(mask, ready[0])
        mask = hard_edged(drawn)  # as current servers make it themselves; `mask_blur` softens its edges
        notices.extend(changes)
    notices.extend(_resized([size_of(image) for image in ready], request.size))
    return InputRoles(tuple(ready), mask, steering, tuple(notices))


def _resized(sizes: Sequence[Size], used: Size | None) -> Iterator[str]:
    """Notices about sizes that were not requested: another than the image's own, or the first one's for all."""
    if sizes and used and used == _AFFORDABLE.nearest(sizes[0]) != sizes[0]:
        yield f"The image of {written(sizes[0])} became {written(used)}; set width and height for another size."
    if used and len(set(sizes)) > 1:
        yield f"All images became {written(used)}, as `resize_mode` says; send them one at a time to keep their shapes."


def _roles(
    request: ImageRequest, options: Options
) -> tuple[Sequence[InputImage], InputImage | None, InputImage | None]:
    """Init images, mask and control image. A second image without the word "mask" in its name was read as the mask.

    It is the control image when a ControlNet model is chosen, and another init image when it has colours."""
    images, mask, control = list(request.images), request.mask, None
    if mask is not None and len(images) == 1:
        if mask == alpha_mask(images[0]):
            mask = None if options.upscales or options.outpaints else mask
        elif "mask" not in mask.filename.casefold():
            if options.controlnet_model:
                mask, control = None, mask
            elif options.upscales or not looks_like_mask(mask):
                images, mask = [*images, mask], None
    inpaints = mask is not None or options.outpaints
    if options.controlnet_model and control is None and len(images) > (1 if inpaints else 0):
        control = images.pop()
    return images, mask, control


def _check(images: Sequence[InputImage], mask: InputImage | None, control: InputImage | None, options: Options) -> None:
    guide = "a second one can guide it with a `controlnet_model`"
    hires = "for a larger image from a prompt use `hires_scale` and `hires_upscaler`"
    refusals = (
        (
            options.controlnet_model and not (control or images),
            "ControlNet needs an image",
            "Send the control image as an input image",
        ),
        (mask and not images, "A mask was sent without an image", "Send the image to inpaint with the mask"),
        (
            (mask or options.outpaints) and len(images) > 1,
            "Several images cannot share one mask",
            f"Send one image at a time; {guide}",
        ),
        (options.outpaints and not images, "Outpainting needs an image", "Send the image to extend as an input image"),
        (options.outpaints and mask, "Outpainting makes its own mask", "Leave out the mask, or the borders to add"),
        (options.upscales and not images, "Upscaling needs an image", f"Send it as an input image; {hires}"),
    )
    for applies, attempted, next_step in refusals:
        if applies:
            raise BadRequest(attempted, next_step=next_step)


def _outpainted(file: InputImage, options: Options) -> tuple[InputImage, InputImage, Sequence[str]]:
    image = flatten(plain(decode(file.data)))
    notices = []
    if (small := _capped(image.size)) != image.size:
        notices.append(f"The image of {written(image.size)} became {written(small)} before it was extended.")
        image = image.resize(small, Image.Resampling.LANCZOS)
    asked = _with_borders(image.size, options)
    size = _on_grid(asked)
    if size != asked:
        notices.append(
            f"The canvas of {written(asked)} became {written(size)}: sides are multiples of {SIZES.multiple}."
        )
    # The new area starts from the image stretched over the canvas: plausible colours for every `inpaint_fill`.
    canvas = image.resize(size)
    canvas.paste(image, (options.outpaint_left, options.outpaint_up))
    mask = Image.new("L", size, 255)
    mask.paste(0, _kept(image.size, options, size))
    return _file(canvas, "canvas"), _file(mask, "mask"), notices


def _kept(image: Size, options: Options, canvas: Size) -> tuple[int, int, int, int]:
    """The box of the image that stays unchanged: smaller by the overlap along each new border."""
    left, up = options.outpaint_left, options.outpaint_up
    right, down = left + image[0], up + image[1]
    inner = (left + _OVERLAP * bool(left), up + _OVERLAP * bool(up))
    return (*inner, right - _OVERLAP * (right < canvas[0]), down - _OVERLAP * (down < canvas[1]))


def _file(image: Image.Image, name: str) -> InputImage:
    return InputImage(encode(image, "png"), "image/png", f"{name}.png")


def build_upscale(
    image: InputImage, request: ImageRequest, options: Options, inputs: InputRoles, upscaler: Name | None
) -> dict[str, JsonValue]:
    """Enlarge by `upscale_by`; without it to the requested size, else twice."""
    size: dict[str, JsonValue] = {
        "resize_mode": 1,
        "upscaling_resize_w": request.width,
        "upscaling_resize_h": request.height,
    }
    # Several images keep their own shapes unless another size is requested.
    if options.upscale_by or request.size == _enlarged(size_of(inputs.images[0]), _DEFAULT_UPSCALING):
        size = {"resize_mode": 0, "upscaling_resize": options.upscale_by or _DEFAULT_UPSCALING}
    faces: dict[str, JsonValue] = {"gfpgan_visibility": 1.0} if options.restore_faces else {}
    return {"image": image.base64, "upscaler_1": upscaler.sent if upscaler else _DEFAULT_UPSCALER, **size, **faces}


def upscale_notices(request: ImageRequest, options: Options) -> Iterator[str]:
    if not options.upscaler:
        yield f"No upscaler was chosen: {_DEFAULT_UPSCALER} enlarged the image without adding detail."
    if request.n > 1:
        yield "`n` was ignored: upscaling makes one image of each input image."
