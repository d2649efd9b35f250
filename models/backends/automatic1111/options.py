"""The parameters that only the WebUI knows, as one typed object. Their rules stand in `parameters.yaml`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.backends.errors import BadRequest
from models.entities import ParameterValue
from models.parameters import Rule, load_rules

type ResizeMode = Literal["stretch", "crop", "fill", "latent"]
type InpaintFill = Literal["fill", "original", "latent noise", "latent nothing"]

# The server's numbers for them.
RESIZE_MODES: Mapping[ResizeMode, int] = {"stretch": 0, "crop": 1, "fill": 2, "latent": 3}
INPAINT_FILLS: Mapping[InpaintFill, int] = {"fill": 0, "original": 1, "latent noise": 2, "latent nothing": 3}

EXTRA_RULES: tuple[Rule, ...] = load_rules(Path(__file__).with_name("parameters.yaml"))


class Options(BaseModel):
    """`request.extra`, typed. Every default means the same as a parameter that was left out: off, or the server's own."""

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
    resize_mode: ResizeMode = "crop"
    mask_blur: int = 4
    inpaint_fill: InpaintFill | None = None
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
        """Enlarging a given image without generating."""
        return bool(self.upscaler or self.upscale_by)


def read_options(extra: Mapping[str, ParameterValue]) -> Options:
    """Raises BadRequest naming the parameter. The values have passed their rules; this guards callers without rules."""
    try:
        return Options.model_validate(dict(extra))
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise BadRequest(f"The parameter `{name}` cannot be used", fault["msg"], "Change its value") from None
