"""The body of txt2img and img2img (AUTOMATIC1111 API, sections of these names), built without I/O.

The rules of `Options` are in `parameters.yaml`. Bodies refuse unknown fields, because the servers ignore them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from models.backends.automatic1111.server_lists import Name
from models.entities import ImageRequest, InputImage, StrictModel
from models.parameters import Rule, load_rules
from models.sizes import FreeSizes

SIZES = FreeSizes(multiple=8, min_side=64, default=(512, 512))  # the servers silently round other sides down
EXTRA_RULES: tuple[Rule, ...] = load_rules(Path(__file__).with_name("parameters.yaml"))

CONTROLNET = "controlnet"
ADETAILER = "adetailer"
_IMG2IMG_DENOISING = 0.75  # the API's own default
_HIRES_DENOISING = 0.7  # the WebUI's default; the API's own is not documented
_OUTPAINT_DENOISING = 0.8  # what the WebUI recommends for outpainting
_FORGE_DISTILLED_CFG = 3.5  # Forge's own default; other servers do not have the field
_HIRES_UPSCALER = "Latent"
_UNCHANGED = ("prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height")
_SAME_MODULES = ("Use same choices",)  # Forge fails without the field; the others ignore it

# The server numbers them by position.
_RESIZE_MODES = ("stretch", "crop", "fill", "latent")
_INPAINT_FILLS = ("fill", "original", "latent noise", "latent nothing")


class Options(BaseModel):
    """`request.extra`, typed. Every default means the same as leaving the parameter out."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    batch_size: int = 1
    vae: str = ""
    clip_skip: int = 0
    restore_faces: bool | None = None
    tiling: bool | None = None
    distilled_cfg_scale: float = 3.5
    hires_scale: float = 1.0
    hires_upscaler: str = ""
    hires_steps: int = 0
    refiner_checkpoint: str = ""
    refiner_switch_at: float = 0.8
    resize_mode: str = "crop"
    mask_blur: int = 4
    inpaint_fill: str = ""
    inpaint_only_masked: bool = False
    inpaint_padding: int = 32
    inpaint_invert: bool = False
    outpaint_left: int = 0
    outpaint_right: int = 0
    outpaint_up: int = 0
    outpaint_down: int = 0
    upscaler: str = ""
    upscale_by: float = 0.0
    controlnet_model: str = ""
    controlnet_module: str = ""
    controlnet_weight: float = 1.0
    adetailer_model: str = ""
    adetailer_prompt: str = ""
    infotext: bool = False

    @property
    def hires(self) -> bool:
        return self.hires_scale > 1

    @property
    def outpaints(self) -> bool:
        return any((self.outpaint_left, self.outpaint_right, self.outpaint_up, self.outpaint_down))

    @property
    def upscales(self) -> bool:
        return bool(self.upscaler or self.upscale_by)

    @property
    def needs_image(self) -> bool:
        return bool(self.outpaints or self.upscales or self.controlnet_model)


@dataclass(frozen=True, slots=True)
class InputRoles:
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    control: InputImage | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNames:
    """Names that exist on the server; None where nothing was asked for."""

    sampler: str | None = None
    scheduler: str | None = None
    checkpoint: Name | None = None
    vae_settings: Mapping[str, JsonValue] = field(default_factory=dict)
    styles: tuple[str, ...] = ()
    hires_upscaler: str | None = None
    refiner: Name | None = None
    controlnet_model: str | None = None
    controlnet_module: str | None = None
    adetailer_title: str | None = None


class Generation(StrictModel):
    """txt2img, or img2img where `init_images` is set. `batch_size` × `n_iter` images are made, seeds counting up.

    Images are plain base64; white in the mask is inpainted.
    """

    prompt: str
    negative_prompt: str = ""
    styles: tuple[str, ...] | None = None
    seed: int | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int | None = None
    cfg_scale: float | None = None
    distilled_cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    restore_faces: bool | None = None
    tiling: bool | None = None
    denoising_strength: float | None = None
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    override_settings: Mapping[str, JsonValue] | None = None
    override_settings_restore_afterwards: bool = True
    alwayson_scripts: Mapping[str, JsonValue] | None = None
    save_images: Literal[False] = False  # true would add grids to the reply
    force_task_id: str | None = None  # our id of the job, for `/internal/progress`

    enable_hr: bool | None = None
    hr_scale: float | None = None
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = None
    hr_cfg: float | None = None
    hr_distilled_cfg: float | None = None
    hr_additional_modules: tuple[str, ...] | None = None

    init_images: tuple[str, ...] | None = None
    resize_mode: int | None = None
    mask: str | None = None
    mask_blur: int | None = None
    inpainting_fill: int | None = None
    inpaint_full_res: bool | None = None
    inpaint_full_res_padding: int | None = None
    inpainting_mask_invert: int | None = None

    @property
    def count(self) -> int:
        return self.batch_size * self.n_iter

    @property
    def path(self) -> str:
        return "/sdapi/v1/img2img" if self.init_images else "/sdapi/v1/txt2img"

    def body(self) -> dict[str, JsonValue]:
        """The JSON to send, without None fields, so that the server's defaults apply."""
        return self.model_dump(mode="json", exclude_none=True)


def build(request: ImageRequest, options: Options, inputs: InputRoles, names: ResolvedNames) -> Generation:
    batch = _batch(request.n, options.batch_size)
    own = _img2img(request, options, inputs) if inputs.images else _hires(request, options, names)
    return Generation.model_validate(
        {
            **{name: getattr(request, name) for name in _UNCHANGED},
            "styles": names.styles or None,
            "sampler_name": names.sampler,
            "scheduler": names.scheduler,
            "batch_size": batch,
            "n_iter": request.n // batch,
            "distilled_cfg_scale": _distilled_cfg(options),
            "restore_faces": options.restore_faces,
            "tiling": options.tiling,
            "refiner_checkpoint": names.refiner.sent if names.refiner else None,
            "refiner_switch_at": options.refiner_switch_at if names.refiner else None,
            "override_settings": _overrides(options, names) or None,
            "alwayson_scripts": _scripts(options, inputs, names) or None,
            **own,
        }
    )


def _batch(n: int, most: int) -> int:
    """The largest batch of at most `most` images that divides `n`, so that exactly `n` images are made."""
    return max(size for size in range(1, max(1, most) + 1) if n % size == 0)


def _distilled_cfg(options: Options) -> float | None:
    return None if options.distilled_cfg_scale == _FORGE_DISTILLED_CFG else options.distilled_cfg_scale


def _overrides(options: Options, names: ResolvedNames) -> dict[str, JsonValue]:
    """Checkpoint, VAE and clip skip only: AUTOMATIC1111 restores a setting only if its config.json has it."""
    checkpoint: dict[str, JsonValue] = {"sd_model_checkpoint": names.checkpoint.sent} if names.checkpoint else {}
    clip: dict[str, JsonValue] = {"CLIP_stop_at_last_layers": options.clip_skip} if options.clip_skip else {}
    return {**names.vae_settings, **checkpoint, **clip}


def _scripts(options: Options, inputs: InputRoles, names: ResolvedNames) -> dict[str, JsonValue]:
    """The units of extensions. ControlNet's defaults differ on Forge, so the main options are sent; ADetailer
    ignores a unit with an unknown key."""
    scripts: dict[str, JsonValue] = {}
    if names.controlnet_model:
        unit: dict[str, JsonValue] = {
            "enabled": True,
            "module": names.controlnet_module or "none",
            "model": names.controlnet_model,
            "weight": options.controlnet_weight,
            "pixel_perfect": True,
            "save_detected_map": False,  # true would add the map to the images
        }
        # Without an image of its own ControlNet takes the init image.
        scripts[CONTROLNET] = {"args": [{**unit, "image": inputs.control.base64} if inputs.control else unit]}
    if names.adetailer_title:
        prompt = {"ad_prompt": options.adetailer_prompt} if options.adetailer_prompt else {}
        scripts[names.adetailer_title] = {"args": [{"ad_model": options.adetailer_model, **prompt}]}
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
        "denoising_strength": _HIRES_DENOISING if request.denoising_strength is None else request.denoising_strength,
    }


def _img2img(request: ImageRequest, options: Options, inputs: InputRoles) -> dict[str, object]:
    together = len(inputs.images)
    usual = _OUTPAINT_DENOISING if options.outpaints else None
    return {
        "init_images": tuple(image.base64 for image in inputs.images),
        "resize_mode": _RESIZE_MODES.index(options.resize_mode),
        "denoising_strength": usual if request.denoising_strength is None else request.denoising_strength,
        # One job takes several images at once: image k of a batch starts from input k.
        **({"batch_size": together, "n_iter": request.n} if together > 1 else {}),
        **(_inpainting(inputs.mask, options) if inputs.mask else {}),
    }


def _inpainting(mask: InputImage, options: Options) -> dict[str, object]:
    fill = options.inpaint_fill or ("fill" if options.outpaints else "original")
    return {
        "mask": mask.base64,
        "mask_blur": options.mask_blur,
        "inpainting_fill": _INPAINT_FILLS.index(fill),
        # The whole image is the context for the new area.
        "inpaint_full_res": options.inpaint_only_masked and not options.outpaints,
        "inpaint_full_res_padding": options.inpaint_padding,
        "inpainting_mask_invert": int(options.inpaint_invert and not options.outpaints),
    }


def without_effect(request: ImageRequest, options: Options, inputs: InputRoles) -> Iterator[str]:
    if inputs.images and options.hires:
        yield "`hires_scale` was ignored: it needs a request without an init image; `upscale_by` enlarges an image."
    if not (inputs.images or options.hires) and request.denoising_strength not in {None, _IMG2IMG_DENOISING}:
        yield "`denoising_strength` was ignored: there is no init image and no hires fix."
    if options.hires_upscaler and not options.hires:
        yield "`hires_upscaler` was ignored: set `hires_scale` above 1 to switch the hires fix on."
    if options.controlnet_module and not options.controlnet_model:
        yield "`controlnet_module` was ignored: choose a `controlnet_model` too."
    if options.adetailer_prompt and not options.adetailer_model:
        yield "`adetailer_prompt` was ignored: choose an `adetailer_model` too."
