"""A request as the body of txt2img, img2img or upscaling (AUTOMATIC1111 API, sections of these names). Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from models.backends.automatic1111.images import (
    DEFAULT_SIZE,
    DEFAULT_UPSCALING,
    InputRoles,
    default_size,
    enlarged,
    in_words,
)
from models.backends.automatic1111.names import CONTROLNET, ResolvedNames
from models.backends.automatic1111.options import INPAINT_FILLS, RESIZE_MODES, Options
from models.backends.automatic1111.server_lists import Name
from models.backends.automatic1111.wire import ADetailerUnit, ControlNetUnit, Generation, Img2Img, Txt2Img, Upscale
from models.entities import ImageRequest, InputImage
from models.images.sniff import sniff
from models.sizes import Size

UPSCALE_PATH = "/sdapi/v1/extra-single-image"
IMG2IMG_DENOISING = 0.75  # the API's own default
HIRES_DENOISING = 0.7  # the WebUI's default; the API's own is not documented
OUTPAINT_DENOISING = 0.8  # what the WebUI recommends for outpainting
_FORGE_DISTILLED_CFG = 3.5  # Forge's own default; other servers do not know the field
_HIRES_UPSCALER = "Latent"
_DEFAULT_UPSCALER = "Lanczos"  # needs no model file
_SAME_MODULES = ("Use same choices",)  # Forge fails without the field; the others ignore it


@dataclass(frozen=True, slots=True)
class BuiltRequest[B: Generation]:
    """A body, and what the user has to know about it."""

    body: B
    notices: tuple[str, ...] = ()


def generation_path(body: Generation) -> str:
    return "/sdapi/v1/img2img" if isinstance(body, Img2Img) else "/sdapi/v1/txt2img"


def build(
    request: ImageRequest, options: Options, inputs: InputRoles, names: ResolvedNames
) -> BuiltRequest[Txt2Img] | BuiltRequest[Img2Img]:
    """txt2img without an init image, else img2img."""
    common = _common(request, options, inputs, names)
    unused = tuple(_unused(request, options, inputs))
    if not inputs.images:
        body = Txt2Img.model_validate({**common, **_hires(request, options, names)})
        return BuiltRequest(body, unused)
    changed = Img2Img.model_validate({**common, **_img2img(request, options, inputs)})
    return BuiltRequest(changed, (*_resized(inputs, (changed.width, changed.height)), *unused))


def _common(request: ImageRequest, options: Options, inputs: InputRoles, names: ResolvedNames) -> Mapping[str, object]:
    batch = _batch(request.n, options.batch_size)
    width, height = request.size or DEFAULT_SIZE
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
        "distilled_cfg_scale": _distilled_cfg(options),
        "width": width,
        "height": height,
        "restore_faces": options.restore_faces,
        "tiling": options.tiling,
        **_refiner(options, names),
        "override_settings": _overrides(options, names) or None,
        "alwayson_scripts": _scripts(options, inputs, names) or None,
    }


def _batch(n: int, most: int) -> int:
    """The largest batch of at most `most` images that divides `n`, so that exactly `n` images are made."""
    return max(size for size in range(1, max(1, most) + 1) if n % size == 0)


def _distilled_cfg(options: Options) -> float | None:
    return None if options.distilled_cfg_scale == _FORGE_DISTILLED_CFG else options.distilled_cfg_scale


def _refiner(options: Options, names: ResolvedNames) -> dict[str, object]:
    if names.refiner is None:
        return {}
    return {"refiner_checkpoint": names.refiner.sent, "refiner_switch_at": options.refiner_switch_at}


def _overrides(options: Options, names: ResolvedNames) -> dict[str, JsonValue]:
    """Settings of this request alone: the model, its VAE and clip skip, and nothing else.

    AUTOMATIC1111 restores a setting only if its config.json has it; any other one would stay changed for everybody.
    """
    overrides: dict[str, JsonValue] = dict(names.vae_settings)
    if names.checkpoint:
        overrides["sd_model_checkpoint"] = names.checkpoint.sent
    if options.clip_skip:
        overrides["CLIP_stop_at_last_layers"] = options.clip_skip
    return overrides


def _scripts(options: Options, inputs: InputRoles, names: ResolvedNames) -> dict[str, JsonValue]:
    scripts: dict[str, JsonValue] = {}
    if names.controlnet_model:
        unit = ControlNetUnit(
            model=names.controlnet_model,
            module=names.controlnet_module or "none",
            weight=options.controlnet_weight,
            # Without an image of its own ControlNet takes the init image.
            image=inputs.control.base64 if inputs.control else None,
        )
        scripts[CONTROLNET] = {"args": [unit.body()]}
    if names.adetailer_title:
        detail = ADetailerUnit(ad_model=options.adetailer_model, ad_prompt=options.adetailer_prompt or None)
        scripts[names.adetailer_title] = {"args": [detail.body()]}
    return scripts


def _hires(request: ImageRequest, options: Options, names: ResolvedNames) -> dict[str, object]:
    if not options.hires:
        return {}
    return {
        "enable_hr": True,
        "hr_scale": options.hires_scale,
        "hr_upscaler": names.hires_upscaler or _HIRES_UPSCALER,
        "hr_second_pass_steps": options.hires_steps,
        # Forge's own default is a second pass with a CFG scale of 1; the others take the first one's.
        "hr_cfg": request.cfg_scale,
        "hr_distilled_cfg": _distilled_cfg(options),
        "hr_additional_modules": _SAME_MODULES,
        "denoising_strength": _either(request.denoising_strength, HIRES_DENOISING),
    }


def _img2img(request: ImageRequest, options: Options, inputs: InputRoles) -> dict[str, object]:
    together = len(inputs.images)
    return {
        "init_images": tuple(image.base64 for image in inputs.images),
        "resize_mode": RESIZE_MODES[options.resize_mode],
        "denoising_strength": request.denoising_strength,
        # One job takes several images at once: image k of a batch starts from input k.
        **({"batch_size": together, "n_iter": request.n} if together > 1 else {}),
        **_inpainting(inputs.mask, options),
        **(_outpainting(request) if options.outpaints else {}),
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


def _outpainting(request: ImageRequest) -> dict[str, object]:
    # The whole image is the context of what is new.
    return {
        "inpaint_full_res": False,
        "denoising_strength": _either(request.denoising_strength, OUTPAINT_DENOISING),
    }


def _either[T](given: T | None, default: T) -> T:
    return default if given is None else given


# --- what the user has to know ----------------------------------------------------------------------------------------


def _resized(inputs: InputRoles, size: Size) -> Iterator[str]:
    """What nobody asked for: another size than the image's own, or that of the first for all others."""
    first, *others = (_size_of(image) for image in inputs.images)
    if size == default_size(first) != first:
        yield f"The image of {in_words(first)} became {in_words(size)}; set width and height for another size."
    if any(other != first for other in others):
        yield f"All images became {in_words(size)}, as `resize_mode` says; send them one at a time to keep their shapes."


def _size_of(image: InputImage) -> Size:
    header = sniff(image.data)
    return header.width, header.height


def _unused(request: ImageRequest, options: Options, inputs: InputRoles) -> Iterator[str]:
    """What was asked for and has no effect beside the rest of the request."""
    plain = not inputs.images and not options.hires
    if inputs.images and options.hires:
        yield "`hires_scale` was ignored: it needs a request without an init image; `upscale_by` enlarges an image."
    if plain and request.denoising_strength not in {None, IMG2IMG_DENOISING}:
        yield "`denoising_strength` was ignored: there is no init image and no hires fix."
    if options.hires_upscaler and not options.hires:
        yield "`hires_upscaler` was ignored: set `hires_scale` above 1 to switch the hires fix on."
    if options.controlnet_module and not options.controlnet_model:
        yield "`controlnet_module` was ignored: choose a `controlnet_model` too."
    if options.adetailer_prompt and not options.adetailer_model:
        yield "`adetailer_prompt` was ignored: choose an `adetailer_model` too."


# --- upscaling --------------------------------------------------------------------------------------------------------


def build_upscale(
    image: InputImage, request: ImageRequest, options: Options, inputs: InputRoles, upscaler: Name | None
) -> Upscale:
    """Enlarge by `upscale_by`; without it to the size that was asked for, else twice."""
    size = None if options.upscale_by else _asked_size(request, inputs)
    return Upscale(
        image=image.base64,
        upscaler_1=upscaler.sent if upscaler else _DEFAULT_UPSCALER,
        resize_mode=1 if size else 0,
        upscaling_resize=None if size else options.upscale_by or DEFAULT_UPSCALING,
        upscaling_resize_w=size[0] if size else None,
        upscaling_resize_h=size[1] if size else None,
        gfpgan_visibility=1.0 if options.restore_faces else None,
    )


def _asked_size(request: ImageRequest, inputs: InputRoles) -> Size | None:
    """None where the size is that of twice the first image: several images keep their own shapes then."""
    return None if request.size == enlarged(_size_of(inputs.images[0]), DEFAULT_UPSCALING) else request.size


def upscale_notices(request: ImageRequest, options: Options) -> Iterator[str]:
    if not options.upscaler:
        yield f"No upscaler was chosen: {_DEFAULT_UPSCALER} enlarged the image without adding detail."
    if request.n > 1:
        yield "`n` was ignored: upscaling makes one image of each input image."
