"""Variants, stamps, AI labels and the thumbnail: what a request wants done to its finished images, in one pass.

Each file is decoded once. A variant is cut from the image as the service made it and marked like the image itself, so
that a corner with a label is not cut off. The metadata's label comes last: nothing changes a file after it but the
fitting into the host's line, which carries it over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from models.backends.errors import BadRequest
from models.entities import GeneratedImage, ImageRequest, ImageResult, SideFile
from models.images import in_thread
from models.images.ai_label import labelled
from models.images.redraw import DecodedFile, Draw, thumbnail
from models.images.sniff import BrokenImageError, NotAnImageError, sniff
from models.images.stamps import Layer, LogoStamp
from models.limits import Limits
from models.marks import FIELD, Marks
from models.output.delivery import THUMBNAIL
from models.output.structured import OutputOptions
from models.settings import Settings
from models.sizes import ONE_MEGAPIXEL, Size, written
from models.stages.carried import Carried
from models.stages.stamp import read_stamps, with_logo
from models.stages.variants import read_variants

LABELS = {"en": "AI generated", "zh": "AI生成"}
_CJK = ("\u3400", "\u9fff")


@dataclass(frozen=True, slots=True)
class MarkRules:
    """The half before the service: what cannot be done is refused before anything is paid."""

    marks: Marks
    limits: Limits
    where: str
    """The field with the owner's marks, in words."""

    @classmethod
    def read(cls, settings: Settings) -> "MarkRules":
        """Raises BadRequest for marks that cannot be read."""
        return cls(Marks.read(settings), Limits.read(settings), settings.where(FIELD))

    def __call__(self, request: ImageRequest, _: Carried) -> ImageRequest:
        if LogoStamp(b"") in read_stamps(request.stamp) and not self.marks.logo:
            raise BadRequest("`stamp` names the logo, and there is none", next_step=f"Write `logo` into {self.where}")
        most = self.limits.megapixels
        for size in read_variants(request.variants):
            if most and size[0] * size[1] > most * ONE_MEGAPIXEL:
                raise BadRequest(
                    f"The variant {written(size)} is larger than the {most:g} megapixels that the owner allows",
                    next_step="Ask for a smaller one",
                )
        return request


@dataclass(frozen=True, slots=True)
class Marking:
    """The half after the service. `keeps`: a store is configured, where a thumbnail can be put.

    `fault` is a notice about marks that cannot be read any more: they may have been changed while the job ran.
    """

    marks: Marks
    keeps: bool
    fault: tuple[str, ...] = ()

    @classmethod
    def read(cls, settings: Settings) -> "Marking":
        keeps = bool(settings.text("storage_url"))
        try:
            return cls(Marks.read(settings), keeps)
        except BadRequest as error:
            return cls(Marks(), keeps, (str(error),))

    def __call__(self, result: ImageResult, carried: Carried) -> ImageResult:
        options = carried.options
        stamps, notices = with_logo(read_stamps(options.stamp), self.marks.logo)
        notices = (*self.fault, *notices)
        label = self._label_text(result.prompt) if options.ai_label == "visible" else ""
        layer = Layer(stamps, self.marks.position, self.marks.opacity, label)
        if undrawable := layer.undrawable:
            notices = (*notices, f"The stamp was written without {undrawable[:50]}: no font here has them.")
        if options.thumbnail and not self.keeps:
            notices = (*notices, "No thumbnail was made: it needs storage, which the owner has not set up.")
        work = _Work(
            options,
            layer if stamps or label else None,
            read_variants(options.variants),
            producer=self.marks.producer or result.model,
            side=(options.thumbnail or 0) if self.keeps else 0,
        )
        images: list[GeneratedImage] = []
        for number, image in enumerate(result.images):
            produce_id = carried.receipt.id if number == 0 else f"{carried.receipt.id}-{number + 1}"
            marked, told = in_thread(work.done, image, produce_id)
            images.append(marked)
            notices = (*notices, *(f"{result.name_of(number)} {words}." for words in dict.fromkeys(told)))
        return replace(result, images=tuple(images), notices=(*result.notices, *notices))

    def _label_text(self, prompt: str) -> str:
        """In the owner's language, else in Chinese where the prompt or the owner's name has Chinese characters."""
        chinese = any(_CJK[0] <= char <= _CJK[1] for char in prompt + self.marks.producer)
        return LABELS[self.marks.language or ("zh" if chinese else "en")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A file on its way, its suffix (empty: the image itself), and what the user should know about it."""

    data: bytes
    suffix: str = ""
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done to each image of a result. `side` is the thumbnail's longest side in pixels; 0: none."""

    options: OutputOptions
    layer: Layer | None
    sizes: tuple[Size, ...]
    producer: str
    side: int

    def done(self, image: GeneratedImage, produce_id: str) -> tuple[GeneratedImage, tuple[str, ...]]:
        """The image with its marks and side files. What cannot be done is told; the image is never lost to it."""
        try:
            made = [self._labelled(one, produce_id) for one in self._files(image.data)]
        except (BrokenImageError, NotAnImageError) as error:
            return image, (f"was left without stamps, label, variants and thumbnail: {error}",)
        first, *others = made
        sides = (*image.side_files, *(SideFile(one.suffix, one.data) for one in others))
        told = tuple(words for one in made for words in one.told)
        # The service's own address shows the image without its marks.
        url = image.url if first.data is image.data else None
        return replace(image, data=first.data, url=url, side_files=sides), told

    def _files(self, data: bytes) -> Iterator[_Made]:
        """The image with its stamps, then its variants and its thumbnail, all without the metadata's label."""
        draw, quality = self._draw(data), self.options.output_quality
        if not (draw or self.sizes):
            marked = _Made(data=data)
            yield marked
        else:
            source = DecodedFile.of(data)
            made, told = source.redrawn(draw, quality) if draw else (data, ())
            marked = _Made(data=made, told=told)
            yield marked
            yield from self._variants(source, draw, quality)
        if self.side:
            yield _Made(data=thumbnail(marked.data, self.side), suffix=THUMBNAIL)

    def _draw(self, data: bytes) -> Draw | None:
        """What is drawn on each image; nothing, but in another format, where the file's own takes no label (GIF, AVIF)."""
        if self.layer:
            return self.layer.draw
        told = ("was saved in another format, as its own takes no AI label",)
        return (lambda _: told) if self._labels and sniff(data).kind is None else None

    @property
    def _labels(self) -> bool:
        return self.options.ai_label != "off"

    def _variants(self, source: DecodedFile, draw: Draw | None, quality: int | None) -> Iterator[_Made]:
        still = ("is an animation; its variants show the first frame",) if source.animated else ()
        for size in self.sizes:
            made, told = source.cut(size, draw, quality)
            grown = max(size[0] / source.image.width, size[1] / source.image.height) > 1
            larger = (f"is smaller than its variant {written(size)}, which was scaled up",) if grown else ()
            suffix = f"{size[0]}x{size[1]}"
            yield _Made(data=made, suffix=suffix, told=(*still, *larger, *told))

    def _labelled(self, made: _Made, produce_id: str) -> _Made:
        if not self._labels:
            return made
        data, told = labelled(made.data, self.producer, produce_id, edited=self.options.edited)
        return replace(made, data=data, told=(*made.told, *told))
