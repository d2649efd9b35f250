"""The model without a service: a labelled placeholder, drawn locally.

`backend.py` is the class, `drawing.py` the image and its text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, override

from pydantic import BaseModel

from models.backends.base import Capabilities, Job, JobBackend, Running
from models.backends.preview.drawing import PlaceholderImage, draw
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.images import in_thread
from models.parameters import MAX_SEED, Rule, load_rules
from models.sizes import FreeSizes, SeedRule, SizeRule

_STEPS = 30
_SIZES = FreeSizes(default=(1024, 1024), min_side=16)
_SEEDS = SeedRule(highest=MAX_SEED, drawn=2**32 - 1)


class PreviewJob(BaseModel):
    """All that the image depends on. Times are epoch seconds."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    seeds: tuple[int, ...]
    started: float
    ends: float
    notices: tuple[str, ...]


class Preview(JobBackend):
    """Placeholders with the words, size and seed of the request; byte for byte the same for the same request."""

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
        return _SIZES

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
            return self._drawn(self._job(request, 0), _thumbnails(request))
        hidden = "The input images are not shown: a simulated job keeps only the text of the request."
        request = request.with_notices(*([hidden] if request.images or request.mask else ()))
        return self._job(request, seconds).model_dump(mode="json")

    @override
    def check(self, job: Job) -> Running | ImageResult:
        known = PreviewJob.model_validate(job)
        now = self.clock.now()
        if now >= known.ends:
            return self._drawn(known, ())
        done = (now - known.started) / (known.ends - known.started)
        return Running(f"step {max(0, int(done * _STEPS))}/{_STEPS}")

    @override
    def cancel(self, job: Job) -> None:
        """Nothing to cancel."""

    def _job(self, request: ImageRequest, seconds: float) -> PreviewJob:
        now, (width, height) = self.clock.now(), request.size or (1024, 1024)
        kept = {name: getattr(request, name) for name in ("prompt", "negative_prompt", "seeds", "notices")}
        size = {"width": width, "height": height}
        return PreviewJob.model_validate({**kept, **size, "started": now, "ends": now + seconds})

    def _drawn(self, job: PreviewJob, thumbnails: Sequence[tuple[str, bytes]]) -> ImageResult:
        model = self.model.name
        shown = job.model_dump(include={"prompt", "negative_prompt", "width", "height"})
        placeholders = [PlaceholderImage(model=model, seed=seed, thumbnails=thumbnails, **shown) for seed in job.seeds]
        images = [GeneratedImage(in_thread(draw, one), seed=one.seed) for one in placeholders]
        return self.result(ImageRequest(model=model, prompt=job.prompt, notices=job.notices), images)


def _thumbnails(request: ImageRequest) -> tuple[tuple[str, bytes], ...]:
    images = [(f"{number}. {image.filename or 'input'}", image.data) for number, image in enumerate(request.images, 1)]
    return (*images, ("mask", request.mask.data)) if request.mask else tuple(images)
