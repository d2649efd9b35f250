"""A file drawn anew in its own format: decoded once, changed, encoded once; of an animation every frame.

All of it is CPU work: run it in a thread.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageOps

from models.images.ai_label import carried_over
from models.images.codec import decode, encodable, encode, is_animated, plain
from models.images.sniff import BrokenImageError, Kind, sniff
from models.sizes import Size

FINE_QUALITY = 95
"""Of a JPEG or WebP that is encoded once more, where the user asked for none."""
_MOST_ANIMATED = 32 * 1024 * 1024  # pixels of all frames together: they are held decoded
_FRAME_MILLISECONDS = 100  # where a frame says nothing

type Draw = Callable[[Image.Image], tuple[str, ...]]
"""Draws on a plain image, in place, and returns what the user should know."""


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """A decoded file. `kind` is the format in which it is encoded again: its own, or PNG or WebP where it has no label."""

    data: bytes
    image: Image.Image
    kind: Kind

    @classmethod
    def of(cls, data: bytes) -> "DecodedFile":
        """Raises BrokenImageError, NotAnImageError."""
        image = decode(data)
        return cls(data, image, sniff(data).kind or ("webp" if is_animated(image) else "png"))

    @property
    def animated(self) -> bool:
        return is_animated(self.image)

    def still(self) -> Image.Image:
        """A plain copy of the image, of an animation its first frame."""
        flat = plain(self.image)
        return flat.copy() if flat is self.image else flat

    def redrawn(self, draw: Draw, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
        """The file with something drawn on it, and what the user should know. Raises BrokenImageError."""
        if self.animated:
            made, told = self._frames_redrawn(draw, quality)
        else:
            canvas = encodable(self.still(), self.kind)
            told = draw(canvas)
            made = encode(canvas, self.kind, quality or FINE_QUALITY)
        labelled, lost = carried_over(self.data, made)
        return labelled, (*told, *lost)

    def _frames_redrawn(self, draw: Draw, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
        pixels = self.image.width * self.image.height * getattr(self.image, "n_frames", 1)
        if pixels > _MOST_ANIMATED:
            raise BrokenImageError("the animation is too long to be drawn anew")
        told: dict[str, None] = {}
        frames, times = [], []
        for frame in self._frames():
            told.update(dict.fromkeys(draw(frame)))
            frames.append(frame)
            times.append(round(float(self.image.info.get("duration") or _FRAME_MILLISECONDS)))
        out = io.BytesIO()
        common = {"save_all": True, "append_images": frames[1:], "duration": times}
        loop = int(self.image.info.get("loop", 0))
        if self.kind == "png":
            frames[0].save(out, "PNG", loop=loop, **common)
        else:
            frames[0].save(out, "WEBP", loop=loop, quality=quality or FINE_QUALITY, method=0, **common)
        return out.getvalue(), tuple(told)

    def _frames(self) -> Iterator[Image.Image]:
        for number in range(getattr(self.image, "n_frames", 1)):
            self.image.seek(number)
            yield plain(self.image.convert("RGBA"))
        self.image.seek(0)

    def cut(self, size: Size, draw: Draw | None, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
        """The image in exactly `size`, scaled to cover it and cut around the middle, with something drawn on it."""
        variant = ImageOps.fit(plain(self.image), size, Image.Resampling.LANCZOS)
        told = draw(variant) if draw else ()
        made, _ = carried_over(self.data, encode(variant, self.kind, quality or FINE_QUALITY))
        return made, told


def thumbnail(data: bytes, side: int) -> bytes:
    """A WebP file of the image with a longest side of at most `side` pixels, with its label. Raises BrokenImageError."""
    small = plain(decode(data)).copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    made, _ = carried_over(data, encode(small, "webp", 80))
    return made
