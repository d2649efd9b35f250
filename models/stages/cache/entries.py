"""What is kept of a result: one file with a line of JSON and the images' bytes. It holds no prompt and no secret."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from pydantic import BaseModel, ValidationError

from models.entities import GeneratedImage, Kept, Price

_END = b"\n"


class UnreadableEntryError(ValueError):
    """The file is not an entry, or was cut or changed."""


class _KeptImage(BaseModel):
    size: int
    seed: int | None = None
    revised_prompt: str | None = None
    kept: Kept | None = None


class _Head(BaseModel):
    """`made` is an epoch second; `price` what the generation cost, with its currency."""

    made: float
    backend: str
    model: str
    notices: list[str]
    price: tuple[Decimal, str] | None
    images: list[_KeptImage]
    sha256: str


@dataclass(frozen=True, slots=True)
class CachedResult:
    """A result as a service made it. `made` is an epoch second; `notices` are the service's own."""

    made: float
    backend: str
    model: str
    images: tuple[GeneratedImage, ...]
    """Their `kept` says where the finished ones are; the service's own addresses end soon and are left out."""
    notices: tuple[str, ...] = ()
    price: Price | None = None

    def encoded(self) -> bytes:
        body = b"".join(image.data for image in self.images)
        head = _Head(
            made=self.made,
            backend=self.backend,
            model=self.model,
            notices=list(self.notices),
            price=(self.price.amount, self.price.currency) if self.price else None,
            images=[
                _KeptImage(size=len(i.data), seed=i.seed, revised_prompt=i.revised_prompt, kept=i.kept)
                for i in self.images
            ],
            sha256=hashlib.sha256(body).hexdigest(),
        )
        return head.model_dump_json().encode() + _END + body

    @classmethod
    def decoded(cls, data: bytes) -> "CachedResult":
        """Raises UnreadableEntryError."""
        line, _, body = data.partition(_END)
        try:
            head = _Head.model_validate_json(line)
        except ValidationError:
            raise UnreadableEntryError("the head is unreadable") from None
        if hashlib.sha256(body).hexdigest() != head.sha256:
            raise UnreadableEntryError("the images are not those that were kept")
        images, start = list[GeneratedImage](), 0
        for one in head.images:
            file = body[start : start + one.size]
            images.append(GeneratedImage(file, seed=one.seed, revised_prompt=one.revised_prompt, kept=one.kept))
            start += one.size
        price = Price(*head.price) if head.price else None
        return cls(head.made, head.backend, head.model, tuple(images), tuple(head.notices), price)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry whose prompt has a meaning: the entry's name, the prompt's words without order, its vector."""

    name: str
    bag: str
    vector: tuple[float, ...] = field(repr=False)


def encoded_neighbours(neighbours: Sequence[Neighbour]) -> bytes:
    return json.dumps([[one.name, one.bag, [round(value, 5) for value in one.vector]] for one in neighbours]).encode()


def decoded_neighbours(data: bytes | None) -> list[Neighbour]:
    """What cannot be read is no neighbour."""
    try:
        return [
            Neighbour(str(name), str(bag), tuple(map(float, vector))) for name, bag, vector in json.loads(data or "[]")
        ]
    except (ValueError, TypeError):
        return []
