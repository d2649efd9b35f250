"""An ImageRequest as the body of txt2img or img2img (AUTOMATIC1111 API, sections of these names). Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from models.backends.automatic1111.inputs import Inputs
from models.backends.automatic1111.options import INPAINT_FILLS, RESIZE_MODES, Options
from models.backends.automatic1111.resolve import CONTROLNET, Resolved
from models.backends.automatic1111.size import DEFAULT, Size, asked_size, size_notices
from models.backends.automatic1111.wire import (
    ADetailerUnit,
    Body,
    ControlNetUnit,
    Generation,
    Img2Img,
    Txt2Img,
)
from models.entities import ImageRequest, InputImage
from models.images.sniff import sniff

HIRES_DENOISING = 0.7  # the web UI's default; the API's own is not documented
OUTPAINT_DENOISING = 0.8  # what the WebUI recommends for outpainting
_HIRES_UPSCALER = "Latent"
_SAME_MODULES = ("Use same choices",)  # Forge fails without the field; the others ignore it


@dataclass(frozen=True, slots=True)
class Built[B: Body]:
    """A body, and what the user has to know about it."""

    body: B
    notices: tuple[str, ...] = ()


def build(request: ImageRequest, options: Options, inputs: Inputs, names: Resolved) -> Built[Txt2Img] | Built[Img2Img]:
    """txt2img without an image to repaint, else img2img."""
    common = _common(request, options, inputs, names)
    if not inputs.pictures:
        return _txt2img(request, options, inputs, names, common)
    return _img2img(request, options, inputs, common)


def _txt2img(
    request: ImageRequest, options: Options, inputs: Inputs, names: Resolved, common: Mapping[str, object]
) -> Built[Txt2Img]:
    # A control image gives the new one its shape.
    asked = asked_size(request, _size_of(inputs.control).capped if inputs.control else DEFAULT)
    size = asked.snapped
    body = Txt2Img.model_validate({**common, **_sides(size), **_hires(request, options, names)})
    return Built(body, (*size_notices(request, asked, size), *_unused(request, options, inputs)))


def _hires(request: ImageRequest, options: Options, names: Resolved) -> dict[str, object]:
    if not _is_on(options.hires_scale):
        return {}
    return {
        "enable_hr": True,
        "hr_scale": options.hires_scale,
        "hr_upscaler": names.hires_upscaler or _HIRES_UPSCALER,
        "hr_second_pass_steps": options.hires_steps,
        # Forge's own default is a second pass with a CFG scale of 1; the others take the first one's.
        "hr_cfg": request.cfg_scale,
        "hr_distilled_cfg": options.distilled_cfg_scale,
        "hr_additional_modules": _SAME_MODULES,
        "denoising_strength": _either(request.denoising_strength, HIRES_DENOISING),
    }


def _is_on(scale: float | None) -> bool:
    return scale is not None and scale > 1


def _img2img(request: ImageRequest, options: Options, inputs: Inputs, common: Mapping[str, object]) -> Built[Img2Img]:
    own = _size_of(inputs.pictures[0])
    # The canvas of outpainting is painted as it is: what is kept of the image must neither move nor shrink.
    asked = own if options.outpaints else asked_size(request, own.capped)
    size = asked.snapped
    body = Img2Img.model_validate(
        {
            **common,
            **_sides(size),
            "init_images": tuple(picture.base64 for picture in inputs.pictures),
            "resize_mode": RESIZE_MODES[options.resize_mode],
            "denoising_strength": request.denoising_strength,
            **_series(request, inputs),
            **_inpainting(inputs.mask, options),
            **(_outpainting(request) if options.outpaints else {}),
        }
    )
    notices = (
        *size_notices(request, asked, size),
        *_resized(request, inputs, size),
        *_unused(request, options, inputs),
    )
    return Built(body, notices)


def _series(request: ImageRequest, inputs: Inputs) -> dict[str, object]:
    """One job repaints several images at once: image k of a batch starts from input k."""
    together = len(inputs.pictures)
    return {"batch_size": together, "n_iter": request.n} if together > 1 else {}


def _outpainting(request: ImageRequest) -> dict[str, object]:
    # The whole image is the context of what is new.
    return {
        "inpaint_full_res": False,
        "denoising_strength": _either(request.denoising_strength, OUTPAINT_DENOISING),
    }


def _inpainting(mask: InputImage | None, options: Options) -> dict[str, object]:
    if mask is None:
        return {}
    fill = options.inpaint_fill or ("fill" if options.outpaints else "original")
    return {
        "mask": mask.base64,
        "mask_blur": options.mask_blur,
        "inpainting_fill": INPAINT_FILLS[fill],
        "inpaint_full_res": options.inpaint_only_masked,
        "inpaint_full_res_padding": options.inpaint_padding,
        "inpainting_mask_invert": int(options.inpaint_invert and not options.outpaints),
    }


def _common(request: ImageRequest, options: Options, inputs: Inputs, names: Resolved) -> dict[str, object]:
    batch = _batch(request.n, options.batch_size)
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "styles": names.styles or None,
        "seed": -1 if request.seed is None else request.seed,
        "sampler_name": names.sampler,
        "scheduler": names.scheduler,
        "batch_size": batch,
        "n_iter": request.n // batch,
        "steps": request.steps,
        "cfg_scale": request.cfg_scale,
        "distilled_cfg_scale": options.distilled_cfg_scale,
        "restore_faces": options.restore_faces,
        "tiling": options.tiling,
        **_refiner(options, names),
        "override_settings": _overrides(options, names) or None,
        "alwayson_scripts": _scripts(options, inputs, names) or None,
    }


def _refiner(options: Options, names: Resolved) -> dict[str, object]:
    if names.refiner is None:
        return {}
    return {"refiner_checkpoint": names.refiner.sent, "refiner_switch_at": options.refiner_switch_at}


def _batch(n: int, most: int) -> int:
    """The largest batch of at most `most` images that divides `n`, so that exactly `n` images are made."""
    return max(size for size in range(1, max(1, most) + 1) if n % size == 0)


def _overrides(options: Options, names: Resolved) -> dict[str, JsonValue]:
    """Settings of this request alone: the model, its VAE and clip skip, and nothing else.

    AUTOMATIC1111 puts a setting back only if its config.json has it; any other one would stay changed for everybody.
    """
    overrides: dict[str, JsonValue] = dict(names.vae_settings)
    if names.checkpoint:
        overrides["sd_model_checkpoint"] = names.checkpoint.sent
    if options.clip_skip is not None:
        overrides["CLIP_stop_at_last_layers"] = options.clip_skip
    return overrides


def _scripts(options: Options, inputs: Inputs, names: Resolved) -> dict[str, JsonValue]:
    scripts: dict[str, JsonValue] = {}
    if names.controlnet_model:
        unit = ControlNetUnit(
            model=names.controlnet_model,
            module=names.controlnet_module or "none",
            weight=options.controlnet_weight,
            # Without an image of its own ControlNet takes the one that is repainted.
            image=inputs.control.base64 if inputs.control else None,
        )
        scripts[CONTROLNET] = {"args": [unit.body()]}
    if names.adetailer_title:
        detail = ADetailerUnit(ad_model=options.adetailer_model, ad_prompt=options.adetailer_prompt or None)
        scripts[names.adetailer_title] = {"args": [detail.body()]}
    return scripts


def _size_of(image: InputImage) -> Size:
    header = sniff(image.data)
    return Size(header.width, header.height)


def _sides(size: Size) -> dict[str, int]:
    return {"width": size.width, "height": size.height}


def _resized(request: ImageRequest, inputs: Inputs, size: Size) -> Iterator[str]:
    """What nobody asked for: another size than the image's own, or that of the first for all others."""
    first, *others = (_size_of(picture) for picture in inputs.pictures)
    if first != size and not (request.width or request.height or request.aspect_ratio):
        yield f"The image of {first} is repainted at {size}; set width and height for another size"
    if any(other != first for other in others):
        yield f"All images are repainted at {size}, as `resize_mode` says; send them one at a time to keep their shapes"


def _either[T](given: T | None, default: T) -> T:
    return default if given is None else given


def _unused(request: ImageRequest, options: Options, inputs: Inputs) -> Iterator[str]:
    """What was asked for and has no effect beside the rest of the request."""
    hires = _is_on(options.hires_scale)
    if options.outpaints and (request.width or request.height or request.aspect_ratio):
        yield "The size was ignored: outpainting adds its borders to the image's own"
    if inputs.pictures and hires:
        yield "`hires_scale` was ignored: an image is repainted at width and height; `upscale_by` enlarges one"
    if not inputs.pictures and request.denoising_strength is not None and not hires:
        yield "`denoising_strength` was ignored: there is no image to repaint and no hires fix"
    if options.hires_upscaler and not hires:
        yield "`hires_upscaler` was ignored: set `hires_scale` to switch the hires fix on"
    if options.controlnet_module and not options.controlnet_model:
        yield "`controlnet_module` was ignored: choose a `controlnet_model` too"
    if options.adetailer_prompt and not options.adetailer_model:
        yield "`adetailer_prompt` was ignored: choose an `adetailer_model` too"


def generation_path(body: Generation) -> str:
    return "/sdapi/v1/img2img" if isinstance(body, Img2Img) else "/sdapi/v1/txt2img"
