"""The bodies of `/sdapi/v1` as the servers write them (AUTOMATIC1111 API, sections txt2img, img2img, upscaling, progress).

Requests refuse unknown fields, because the servers ignore them; replies take what they need, because forks add to them.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, model_validator

# --- requests ---------------------------------------------------------------------------------------------------------


class WireBody(BaseModel):
    """What is sent. Fields that are None stay out, so that the server's own default holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def body(self) -> dict[str, JsonValue]:
        return self.model_dump(mode="json", exclude_none=True)


class Generation(WireBody):
    """What txt2img and img2img share. `batch_size` × `n_iter` images are made, seeds counting up over all."""

    prompt: str
    negative_prompt: str = ""
    styles: tuple[str, ...] | None = None
    seed: int = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int | None = None
    cfg_scale: float | None = None
    distilled_cfg_scale: float | None = None
    width: int
    height: int
    restore_faces: bool | None = None
    tiling: bool | None = None
    denoising_strength: float | None = None
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    override_settings: Mapping[str, JsonValue] | None = None
    override_settings_restore_afterwards: bool = True
    alwayson_scripts: Mapping[str, JsonValue] | None = None
    save_images: Literal[False] = False  # true would bring grids into the answer
    force_task_id: str | None = None  # our own name for the job, by which `/internal/progress` knows it

    @property
    def count(self) -> int:
        return self.batch_size * self.n_iter


class Txt2Img(Generation):
    enable_hr: bool | None = None
    hr_scale: float | None = None
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = None
    hr_cfg: float | None = None
    hr_distilled_cfg: float | None = None
    hr_additional_modules: tuple[str, ...] | None = None


class Img2Img(Generation):
    """Images are plain base64. White in the mask is inpainted."""

    init_images: tuple[str, ...]
    resize_mode: int = 0
    mask: str | None = None
    mask_blur: int | None = None
    inpainting_fill: int | None = None
    inpaint_full_res: bool | None = None
    inpaint_full_res_padding: int | None = None
    inpainting_mask_invert: int | None = None


class Upscale(WireBody):
    """`extra-single-image`: `resize_mode` 0 enlarges by a factor, 1 to a size."""

    image: str
    upscaler_1: str
    resize_mode: Literal[0, 1] = 0
    upscaling_resize: float | None = None
    upscaling_resize_w: int | None = None
    upscaling_resize_h: int | None = None
    gfpgan_visibility: float | None = None


class ControlNetUnit(WireBody):
    """Extension sd-webui-controlnet; built into Forge. Defaults of the two differ, so the main switches are sent."""

    enabled: Literal[True] = True
    module: str = "none"
    model: str
    weight: float = 1.0
    image: str | None = None
    pixel_perfect: bool = True
    save_detected_map: Literal[False] = False  # true would add the map to the images


class ADetailerUnit(WireBody):
    """Extension ADetailer; one unknown key and it leaves the whole unit out."""

    ad_model: str
    ad_prompt: str | None = None


# --- replies ----------------------------------------------------------------------------------------------------------


class Info(BaseModel):
    """The text `info` of a generation, parsed again. Some scripts leave it empty or without keys, so all have defaults.

    `width` and `height` are left out on purpose: they are those of the request, not of the image.
    """

    all_seeds: tuple[int, ...] = ()
    index_of_first_image: int = 0
    infotexts: tuple[str, ...] = ()
    sampler_name: str | None = None
    sd_model_name: str | None = None
    sd_model_hash: str | None = None
    sd_vae_name: str | None = None
    clip_skip: float | None = None
    job_timestamp: str | None = None
    version: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, info: object) -> object:
        # A null in one key must not cost the seeds and the name of the model.
        return {name: value for name, value in info.items() if value is not None} if isinstance(info, dict) else info

    @classmethod
    def read(cls, text: str | None) -> "Info":
        """Never raises: images are worth having without their `info`."""
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


class Generated(BaseModel):
    """Images as base64, without saying in which format."""

    images: tuple[str, ...] | None = ()
    info: str | None = ""


class Upscaled(BaseModel):
    image: str


class TaskProgress(BaseModel):
    """`/internal/progress`: one request followed by its task id; all false for an id that the server does not know."""

    active: bool = False
    queued: bool = False
    completed: bool = False
    progress: float | None = None
    eta: float | None = None
    textinfo: str | None = None

    @property
    def words(self) -> str:
        """For a reader: "In queue: 2/3", "40 %, about 12 s left"."""
        if self.queued:
            return self.textinfo or "in the server's queue"
        if not self.active:
            return ""
        left = f", about {self.eta:.0f} s left" if self.eta else ""
        return f"{100 * (self.progress or 0):.0f} %{left}"


class ServerState(BaseModel):
    interrupted: bool = False
    skipped: bool = False
    job_timestamp: str | None = None


class ServerProgress(BaseModel):
    """`/sdapi/v1/progress`: whatever runs or ran last, whoever asked for it."""

    state: ServerState = ServerState()


class ServerSettings(BaseModel):
    """The settings of everybody, as far as one request may override them."""

    sd_model_checkpoint: JsonValue = None
    sd_vae: JsonValue = None
    CLIP_stop_at_last_layers: JsonValue = None


class EmptyReply(BaseModel):
    """An answer that says nothing but that it came."""


class RefusalBody(BaseModel):
    """The error shapes of A1111 (`errors`), Forge (`message`) and SD.Next (`errors` + `code`) in one."""

    error: str = ""
    detail: JsonValue = None
    errors: JsonValue = None
    message: JsonValue = None
