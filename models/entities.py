"""The types that every room shares: what a backend is asked for, and what it answers."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from models.images.sniff import sniff

type ParameterValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class InputImage:
    """An image given by the user: bytes that were capped and sniffed, not yet trusted to decode.

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


@dataclass(frozen=True, slots=True)
class Price:
    """What a whole result cost; `currency` is an ISO code."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image. `url` is set only where the service itself published the image; `seed` where it is known."""

    data: bytes
    url: str | None = None
    seed: int | None = None
    revised_prompt: str | None = None

    @property
    def mime_type(self) -> str:
        """From the bytes, never from a header or a file name."""
        return sniff(self.data).mime_type

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, read from the file's header."""
        header = sniff(self.data)
        return header.width, header.height

    @property
    def image_url(self) -> str:
        """The service's public URL, else the image itself as a data URI."""
        return self.url or f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """Everything a backend has to say about a finished request.

    `price` None means: the price per image of the model's card applies. `notices` are sentences for the user:
    what was changed, ignored or could not be honoured.
    """

    images: tuple[GeneratedImage, ...]
    backend: str
    model: str
    prompt: str
    notices: tuple[str, ...] = ()
    price: Price | None = None
