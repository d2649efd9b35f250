"""The stage that keeps images and their side files in the owner's storage and gives them lasting addresses.

Kept is the image as the service made it, in the format asked for, with stamps and labels. A store that fails never
costs a paid image: it is delivered as before, with a notice.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import quote

from gevent.pool import Pool

from models.backends.errors import BadRequest, logger
from models.entities import GeneratedImage, ImageResult, Kept, SideFile
from models.images import video
from models.images.sniff import sniff
from models.settings import Settings
from models.stages.carried import Carried
from models.storage.failures import StoreError
from models.storage.objects import Bucket

_BESIDE = 6  # uploads of one result at a time
_FOREVER = "public, max-age=31536000, immutable"  # a name is never used for a second file
_EXTENSIONS = {"image/jpeg": "jpg", "image/svg+xml": "svg", **video.EXTENSIONS}
_ODD = str.maketrans(dict.fromkeys("/\\:?#[]@!$&'()*+,;=<>\"|^`{}~% \t\r\n", "-"))


@dataclass(frozen=True, slots=True)
class _Upload:
    """One file to keep: the image itself (`suffix` is empty) or one of its side files."""

    number: int
    suffix: str
    name: str
    mime_type: str
    data: bytes = field(compare=False)


@dataclass(frozen=True, slots=True)
class Storage:
    """`settings` are those of the call; a storage that cannot be read is told like one that fails."""

    settings: Settings

    def __call__(self, result: ImageResult, carried: Carried) -> ImageResult:
        try:
            bucket = Bucket.of(self.settings)
        except BadRequest as error:
            return _told(result, [StoreError(error.attempted, error.next_step)])
        return _kept(result, carried, bucket) if bucket else result


def _kept(result: ImageResult, carried: Carried, bucket: Bucket) -> ImageResult:
    pool = Pool(_BESIDE)
    renewed = pool.map(partial(_renewed, bucket), result.images)
    new = [number for number, kept in enumerate(renewed) if kept is None]
    uploads = [upload for number in new for upload in _uploads(result, number, carried)]
    outcomes = pool.map(partial(_uploaded, bucket, result), uploads)
    done = {upload: url for upload, url in zip(uploads, outcomes, strict=True) if isinstance(url, str)}
    images = tuple(
        replace(image, kept=renewed[number] or _where(bucket, number, done))
        for number, image in enumerate(result.images)
    )
    faults = [outcome for outcome in outcomes if isinstance(outcome, StoreError)]
    return _told(replace(result, images=images), faults)


def _where(bucket: Bucket, number: int, done: Mapping[_Upload, str]) -> Kept | None:
    """Where the image with this number is now; None if it could not be kept, whatever became of its side files."""
    own = {upload.suffix: (upload, url) for upload, url in done.items() if upload.number == number}
    if "" not in own:
        return None
    upload, url = own.pop("")
    sides = {suffix: side for suffix, (_, side) in own.items()}
    return Kept(bucket.address.full_key(upload.name), url, sides, by_url=bucket.address.deliver_url)


def _renewed(bucket: Bucket, image: GeneratedImage) -> Kept | None:
    """The addresses of a cached image that is kept already, signed anew; None where there is nothing to renew."""
    prefix = bucket.address.full_key("")
    if image.kept is None or not image.kept.key.startswith(prefix):
        return None
    name = image.kept.key.removeprefix(prefix)
    stem = name.rpartition(".")[0]
    try:
        if not bucket.exists(name):
            return None
        sides = {
            side.suffix: bucket.url(_side_name(stem, side))
            for side in image.side_files
            if side.suffix in image.kept.side_urls
        }
        return Kept(image.kept.key, bucket.url(name), sides, by_url=bucket.address.deliver_url)
    except StoreError:
        return None  # it is kept again, and a store that fails is told there


def _side_name(stem: str, side: SideFile) -> str:
    return f"{stem}.{side.suffix}" if side.is_document else f"{stem}.{side.suffix}.{_extension(side.mime_type)}"


def _uploads(result: ImageResult, number: int, carried: Carried) -> Iterator[_Upload]:
    image, receipt = result.images[number], carried.receipt
    ident = receipt.id if len(result.images) == 1 else f"{receipt.id}-{number + 1}"
    model = result.model.translate(_ODD).strip(".") or "model"
    stem = f"{time.strftime('%Y/%m/%d', time.gmtime(receipt.time))}/{model}/{ident}"
    yield _Upload(number, "", f"{stem}.{_extension(image.mime_type)}", image.mime_type, image.data)
    for side in image.side_files:
        yield _Upload(number, side.suffix, _side_name(stem, side), side.mime_type, side.data)


def _extension(mime_type: str) -> str:
    return _EXTENSIONS.get(mime_type, mime_type.rpartition("/")[2])


def _uploaded(bucket: Bucket, result: ImageResult, upload: _Upload) -> str | StoreError:
    """The address of the file, or why it could not be kept."""
    try:
        bucket.put(upload.name, upload.data, _attributes(result, upload))
        url = bucket.url(upload.name)
    except StoreError as error:
        return error
    # Without the signature: whoever reads the log may not read the image.
    logger.info("image kept: %s %s", bucket.address.full_key(upload.name), url.partition("?")[0])
    return url


def _attributes(result: ImageResult, upload: _Upload) -> dict[str, str]:
    """Headers and metadata. Metadata names are plain letters: Azure takes no hyphen, some proxies no underscore."""
    seed = result.images[upload.number].seed
    prompt = hashlib.sha256(result.prompt.encode("utf-8", "surrogatepass")).hexdigest()
    return {
        "Content-Type": upload.mime_type,
        "Cache-Control": _FOREVER,
        "model": quote(result.model, safe="/ :"),
        **({} if seed is None else {"seed": str(seed)}),
        **_size(upload),
        "prompthash": f"sha256:{prompt}",
    }


def _size(upload: _Upload) -> dict[str, str]:
    if not upload.mime_type.startswith("image/"):
        return {}
    header = sniff(upload.data)
    return {"size": f"{header.width}x{header.height}"}


def _told(result: ImageResult, faults: list[StoreError]) -> ImageResult:
    said = dict.fromkeys(
        f"Not everything could be kept in the storage: {fault.said}. {fault.next_step}." for fault in faults
    )
    return replace(result, notices=(*result.notices, *said))
