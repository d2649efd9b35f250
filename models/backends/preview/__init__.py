"""The model without a service: a labelled placeholder, drawn locally.

`drawing.py` makes the image with its label, `scenes/` what it shows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, override

from pydantic import BaseModel

from models.backends.base import Capabilities, Job, JobBackend, Running
from models.backends.preview.drawing import PlaceholderImage, draw
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage
from models.images import in_thread
from models.images.sniff import sniff
from models.parameters import MAX_SEED, Rule, load_rules
from models.sizes import FreeSizes, SeedRule, Size, SizeRule

_STEPS = 30
_SIZE = (1024, 1024)
_SIDES = (16, 4096)
_SEEDS = SeedRule(highest=MAX_SEED, drawn=2**32 - 1)


class PreviewJob(BaseModel):
    """All that the image depends on. Times are epoch seconds."""

    prompt: str
    negative_prompt: str
    style: str = ""
    width: int
    height: int
    seeds: tuple[int, ...]
    started: float
    ends: float
    notices: tuple[str, ...]


class Preview(JobBackend):
    """Scenes and edits with a label that names prompt, size and seed; byte for byte the same for the same request."""

    name: ClassVar[str] = "preview"
    title: ClassVar[str] = "Preview"
    prefix: ClassVar[str] = "preview"
    customizable: ClassVar[bool] = False
    charges: ClassVar[bool] = False
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=8, mask=True, second_image="image")

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return FreeSizes(default=_size_of(request.images[0]) if request.images else _SIZE, min_side=_SIDES[0])

    @override
    def seeds(self, request: ImageRequest) -> SeedRule:
        return _SEEDS

    @override
    def check_access(self) -> Sequence[str]:
        return ()

    @override
    def _submit(self, request: ImageRequest, deadline: Deadline) -> Job | ImageResult:
        del deadline
        seconds = float(request.extra.get("simulate_seconds", 0))
        if seconds <= 0:
            return self._drawn(self._job(request, 0), request.images, request.mask)
        hidden = "The input images are not used: a simulated job keeps only the text of the request."
        request = request.with_notices(*([hidden] if request.images or request.mask else ()))
        return self._job(request, seconds).model_dump(mode="json")

    @override
    def check(self, job: Job) -> Running | ImageResult:
        known = PreviewJob.model_validate(job)
        now = self.clock.now()
        if now >= known.ends:
            return self._drawn(known)
        done = (now - known.started) / (known.ends - known.started)
        return Running(f"step {max(0, int(done * _STEPS))}/{_STEPS}")

    @override
    def cancel(self, job: Job) -> None:
        """Nothing to cancel."""

    def _job(self, request: ImageRequest, seconds: float) -> PreviewJob:
        now, (width, height) = self.clock.now(), request.size or _SIZE
        kept = {name: getattr(request, name) for name in ("prompt", "negative_prompt", "seeds", "notices")}
        look = {"width": width, "height": height, "style": request.style_preset or ""}
        return PreviewJob.model_validate({**kept, **look, "started": now, "ends": now + seconds})

    def _drawn(self, job: PreviewJob, images: Sequence[InputImage] = (), mask: InputImage | None = None) -> ImageResult:
        model = self.model.name
        shown = job.model_dump(include={"prompt", "negative_prompt", "style", "width", "height"})
        files, masked = tuple(image.data for image in images), mask.data if mask else None
        placeholders = [
            PlaceholderImage(model=model, seed=seed, images=files, mask=masked, **shown) for seed in job.seeds
        ]
        made = [GeneratedImage(in_thread(draw, one), seed=one.seed) for one in placeholders]
        return self.result(ImageRequest(model=model, prompt=job.prompt, notices=job.notices), made)


def _size_of(image: InputImage) -> Size:
    """The size of an edit: that of the image, within the bounds."""
    header = sniff(image.data)
    smallest, largest = _SIDES
    scale = min(1.0, largest / max(header.width, header.height))
    return max(smallest, round(header.width * scale)), max(smallest, round(header.height * scale))
