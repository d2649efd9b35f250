"""What a backend is asked for: one frozen type, whatever the host's messages looked like."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

type ParameterValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InputImage:
    """A picture given by the user: bytes that were capped and sniffed, not yet trusted to decode.

    `mime_type` comes from the bytes (`image/png` ...), `filename` from the user and is only a hint.
    """

    data: bytes
    mime_type: str
    filename: str = ""

    @property
    def base64(self) -> str:
        """The bytes as services take them inside JSON."""
        return base64.b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        return f"data:{self.mime_type};base64,{self.base64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """A checked request in the plugin's one vocabulary.

    Absent numbers are None (the service's default applies); sizes are pixels, `timeout` is seconds for the whole job.
    `seed` None means random. `extra` holds the parameters that only the asked backend knows, already of the type
    that its rule names. `notices` is what reading the messages already had to tell the user.
    """

    model: str
    prompt: str
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    width: int | None = None
    height: int | None = None
    aspect_ratio: str | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    negative_prompt: str = ""
    seed: int | None = None
    n: int = 1
    sampler: str | None = None
    scheduler: str | None = None
    denoising_strength: float | None = None
    style_preset: str | None = None
    output_format: str | None = None
    output_quality: int | None = None
    checkpoint: str | None = None
    prompt_extend: bool | None = None
    watermark: bool | None = None
    details: bool = False
    timeout: float = 600.0
    extra: Mapping[str, ParameterValue] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
