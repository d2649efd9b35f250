"""The types that every room shares: what a backend is asked for, and what it answers."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from models.images import in_thread
from models.images.sniff import Header, is_video, sniff
from models.images.video import video_header

type ParameterValue = bool | int | float | str


class StrictModel(BaseModel):
    """Data that is never changed and has no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
        return base64.b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        return f"data:{self.mime_type};base64,{self.base64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """A settled request in the plugin's one vocabulary.

    Absent numbers are None: the service's default applies. `width` and `height` (pixels) are a size that the model
    makes, or both None. `seeds` holds one seed for each of the `n` images; it is empty only where the service chooses.
    `asked_seed` is the seed that the user named; None: the seeds were drawn.
    `timeout` is seconds for the whole job. From `cache` to `fallback` it is what the stages and the routing are asked for.
    `user` names the end user, else the request itself, for choices that stay the same for one user; no result depends on
    it otherwise. `extra` holds the parameters that have no field here, already of
    the type that the backend's rule names. `notices` are sentences for the user about how the request was read.
    """

    model: str
    prompt: str
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    negative_prompt: str = ""
    seeds: tuple[int, ...] = ()
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
    timeout: float = 590.0
    asked_seed: int | None = None
    cache: str = "off"
    stamp: str = ""
    ai_label: str = "off"
    variants: str = ""
    thumbnail: int | None = None
    fallback: str = ""
    user: str = ""
    extra: Mapping[str, ParameterValue] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None where the service chooses."""
        return (self.width, self.height) if self.width and self.height else None

    @property
    def seed(self) -> int | None:
        """The seed of the first image; None where the service chooses."""
        return self.seeds[0] if self.seeds else None

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that may show in the image: the prompt, the stamp, and a service's own texts."""
        own = (value for value in self.extra.values() if isinstance(value, str))
        return tuple(text for text in (self.prompt, self.stamp, *own) if text)

    def lowered(self, most: float, why: str) -> "ImageRequest":
        """The same request with a `timeout` of at most `most` seconds, and a notice where it was longer."""
        if self.timeout <= most:
            return self
        return replace(self, timeout=most).with_notices(f"`timeout` became {most:g} seconds: {why}.")

    def with_notices(self, *notices: str) -> "ImageRequest":
        return replace(self, notices=(*self.notices, *notices)) if notices else self


@dataclass(frozen=True, slots=True)
class Price:
    """What a whole result cost; `currency` is an ISO code."""

    amount: Decimal
    currency: str


POSTER = "poster"
"""The suffix of the side file that is a frame of a video."""
_DOCUMENTS = {"zip": "application/zip", "html": "text/html; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class SideFile:
    """A further file of an image: a thumbnail ("thumb"), the same image in another size ("900x383"), of a video a frame
    ("poster"), of a contact sheet an archive ("zip") and a page ("html")."""

    suffix: str
    data: bytes

    @property
    def is_variant(self) -> bool:
        return self.suffix[:1].isdigit()

    @property
    def mime_type(self) -> str:
        return _DOCUMENTS.get(self.suffix) or sniff(self.data).mime_type

    @property
    def is_document(self) -> bool:
        return self.suffix in _DOCUMENTS


@dataclass(frozen=True, slots=True)
class Kept:
    """Where an image is kept: its object's key, and addresses of it and of its side files, by their suffixes.

    `url` is empty for a folder without a public address. `by_url`: the host gets the address in place of the bytes.
    """

    key: str
    url: str
    side_urls: Mapping[str, str] = field(default_factory=dict)
    by_url: bool = False


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One image, or a video in the place of one: the bytes say which. `seed` is set where it is known.

    `url` is set only where the service itself published the file, `sent_as` is the Content-Type that it has there, if
    that was seen. `side_files` are kept beside the image; `kept` is set once they are in the owner's store.
    """

    data: bytes
    url: str | None = None
    seed: int | None = None
    revised_prompt: str | None = None
    side_files: tuple[SideFile, ...] = ()
    kept: Kept | None = None
    sent_as: str = ""

    @property
    def is_video(self) -> bool:
        return is_video(self.data)

    @property
    def header(self) -> Header:
        """From the bytes, never from a reply's header or a file name."""
        return video_header(self.data) if self.is_video else sniff(self.data)

    @property
    def mime_type(self) -> str:
        return self.header.mime_type

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, of an image or of a video's frames."""
        return self.header.width, self.header.height

    @property
    def poster(self) -> bytes | None:
        """A frame of a video, as an image, where the service gave one."""
        return next((side.data for side in self.side_files if side.suffix == POSTER), None)

    @property
    def loose_variants(self) -> tuple["GeneratedImage", ...]:
        """The variants that no store keeps, as images."""
        kept = self.kept.side_urls if self.kept else {}
        variants = (side for side in self.side_files if side.is_variant and side.suffix not in kept)
        return tuple(GeneratedImage(side.data, seed=self.seed) for side in variants)

    @property
    def image_url(self) -> str:
        """The service's public URL, else the image itself as a data URI."""
        return self.url or f"data:{self.mime_type};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """The answer to a request.

    Without `price`, the price per image of the model's card applies (`priced` fills it in). `notices` are sentences
    for the user: what was changed, ignored or could not be honoured. `cached`: no service made it for this request.
    `model` is the one that made it; in the end the asked one, and `answered_by` the one that made it.
    """

    images: tuple[GeneratedImage, ...]
    backend: str
    model: str
    prompt: str
    notices: tuple[str, ...] = ()
    price: Price | None = None
    cached: bool = False
    answered_by: str = ""

    def answered(self, asked: str) -> "ImageResult":
        """The result as the answer of the asked model."""
        return replace(self, model=asked, answered_by=self.model)

    def priced(self, price_per_image: Price | None) -> "ImageResult":
        """The result with a price: the service's own word, else the card's for each image, else unknown."""
        if self.price is not None or price_per_image is None:
            return self
        return replace(self, price=Price(price_per_image.amount * len(self.images), price_per_image.currency))

    @property
    def shown(self) -> "ImageResult":
        """The result as it is delivered: variants that no store keeps are further images, neither counted nor priced."""
        images = tuple(one for image in self.images for one in (image, *image.loose_variants))
        return replace(self, images=images)

    def name_of(self, number: int) -> str:
        """How a notice names the image at this place, counted from 0."""
        if len(self.images) == 1:
            return "The video" if self.images[number].is_video else "The image"
        return f"Video {number + 1}" if self.images[number].is_video else f"Image {number + 1}"


_BYTES = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))  # five times as fast as `base64`
_LONG = 1_000_000  # characters


def from_base64(text: str) -> bytes:
    """The bytes of a text that may be a data URL or broken into lines. Raises ValueError for what is not base64.

    Other requests go on between one long text and the next.
    """
    body = text.rpartition(",")[2] if text.startswith("data:") else text
    return _decoded(body) if len(body) < _LONG else in_thread(_decoded, body)


def _decoded(text: str) -> bytes:
    try:
        return _BYTES.validate_strings(text)
    except ValidationError:
        # Line breaks, and last characters with bits that mean nothing.
        return base64.b64decode("".join(text.split()), validate=True)
