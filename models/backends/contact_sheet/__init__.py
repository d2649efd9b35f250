"""The model `contact-sheet`, without a service: given images become one sheet with captions.

`entries.py` reads what is asked for, `links.py` fetches links, `sheet.py` draws, `gallery.py` makes the archive and the
page that a store keeps beside the sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, override

from gevent.pool import Pool
from PIL import Image

from models.backends.base import Backend, Capabilities
from models.backends.contact_sheet.entries import SheetEntry, read_entries
from models.backends.contact_sheet.gallery import Original, page, zipped
from models.backends.contact_sheet.links import LinkFetcher
from models.backends.contact_sheet.sheet import SheetCell, drawn_sheet, shown_in_cell
from models.backends.errors import BadRequest, ImageError
from models.backends.file_links import is_dify_link
from models.clock import Clock, Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, ParameterValue, SideFile
from models.images import in_thread
from models.images.codec import encode
from models.images.sniff import KINDS, BrokenImageError, NotAnImageError
from models.limits import Limits
from models.parameters import Rule, load_rules
from models.settings import Settings

_MOST = 60  # images on one sheet
_AT_ONCE = 6  # links that are fetched beside each other
_QUALITY = 88
_CELL = 384


@dataclass(frozen=True, slots=True)
class _Seen:
    """An entry with its image as the sheet shows it, or the reason why it is missing. `data` is kept for the archive."""

    entry: SheetEntry
    image: Image.Image | None = None
    data: bytes = field(default=b"", repr=False)
    missing: str = ""
    next_step: str = ""


class ContactSheet(Backend):
    """A sheet of given images; it generates nothing and costs nothing."""

    name: ClassVar[str] = "contact_sheet"
    title: ClassVar[str] = "Contact sheet"
    prefix: ClassVar[str] = "contact_sheet"
    customizable: ClassVar[bool] = False
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))

    hosts: Sequence[str] = ()
    """Where links may lead besides public addresses."""
    keeps: bool = False
    """Whether a store is configured, for an archive and a page beside the sheet."""

    @classmethod
    @override
    def bind(cls, name: str, settings: Settings, clock: Clock | None = None) -> "ContactSheet":
        bound = super().bind(name, settings, clock)
        assert isinstance(bound, cls)  # noqa: S101 -- it makes instances of its own class
        bound.hosts = Limits.read(settings).hosts
        bound.keeps = bool(settings.text("storage_url"))
        return bound

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=_MOST, links=True)

    @override
    def needs_prompt(self, parameters: object) -> bool:
        return False

    @override
    def check_access(self) -> Sequence[str]:
        return ()

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        title, entries = read_entries(request.prompt, request.images)
        if not entries:
            raise BadRequest(
                f"{self.model.name} was given no images",
                next_step="Write Markdown image links into the prompt, or switch on the node's vision setting",
            )
        if len(entries) > _MOST:
            raise BadRequest(f"{len(entries)} images were given; a sheet holds {_MOST}", next_step="Send fewer")
        cell_size = _number(request.extra.get("cell_size"), _CELL)
        fetcher = LinkFetcher(self.hosts, self.clock, deadline)
        seen = Pool(_AT_ONCE).map(lambda entry: self._seen(entry, fetcher, cell_size), entries)
        if all(one.image is None for one in seen):
            first = seen[0]
            raise BadRequest(f"None of the {len(seen)} images can be shown", first.missing, first.next_step)
        cells = [SheetCell(one.entry.caption, one.image, one.missing) for one in seen]
        columns = _number(request.extra.get("columns"), 0)
        sheet, drawn_with = in_thread(drawn_sheet, cells, title, columns, cell_size)
        data = in_thread(
            encode, sheet, KINDS.get(request.output_format or "", "jpeg"), request.output_quality or _QUALITY
        )
        smaller = (
            (f"`cell_size` became {drawn_with}: a sheet has at most 16 megapixels.",) if drawn_with < cell_size else ()
        )
        image = GeneratedImage(data, side_files=self._side_files(seen, title))
        return self.result(replace(request, prompt=title), [image], (*_told(seen), *smaller))

    def _seen(self, entry: SheetEntry, fetcher: LinkFetcher, cell_size: int) -> _Seen:
        """The image of an entry; a dead link or a broken file costs only itself."""
        try:
            data = entry.image.data if entry.image else fetcher.fetch(entry.address)
            return _Seen(entry, in_thread(shown_in_cell, data, cell_size), data if self.keeps else b"")
        except ImageError as error:
            return _Seen(entry, missing=error.said or error.attempted, next_step=error.next_step)
        except (NotAnImageError, BrokenImageError) as error:
            return _Seen(entry, missing=str(error), next_step=error.advice)

    def _side_files(self, seen: Sequence[_Seen], title: str) -> tuple[SideFile, ...]:
        originals = [
            Original(
                one.entry.caption, one.data, one.image, "" if is_dify_link(one.entry.address) else one.entry.address
            )
            for one in seen
            if one.image is not None and one.data
        ]
        if not originals:
            return ()
        return (
            SideFile("zip", in_thread(zipped, originals)),
            SideFile("html", in_thread(page, originals, title)),
        )


def _number(value: ParameterValue | None, default: int) -> int:
    return int(value) if isinstance(value, int | float) else default


def _told(seen: Sequence[_Seen]) -> tuple[str, ...]:
    """A notice for each image that is missing, and once what to do."""
    lost = [(number, one) for number, one in enumerate(seen, 1) if one.image is None]
    said = [f"Image {number} ({one.entry.caption}) is missing: {one.missing}." for number, one in lost]
    steps = dict.fromkeys(one.next_step for _, one in lost if one.next_step)
    return (*said, *(step if step.endswith(".") else f"{step}." for step in steps))
