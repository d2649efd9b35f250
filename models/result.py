"""What a backend answers: pictures as bytes, with what was really used to make them."""

import base64
from dataclasses import dataclass
from decimal import Decimal

from models.sniff import sniff


@dataclass(frozen=True, slots=True)
class Price:
    """What a whole result cost; `currency` is an ISO code."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One picture. `url` is set only where the service itself published the picture; `seed` where it is known."""

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
        """The service's public URL, else the picture itself as a data URI."""
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
