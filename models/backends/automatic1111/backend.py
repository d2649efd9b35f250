"""AUTOMATIC1111's WebUI, Forge, reForge and SD.Next: one blocking call per request, names checked before it is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import ClassVar, override

from models.backends.automatic1111.build import UPSCALE_PATH, build, build_upscale, generation_path, upscale_notices
from models.backends.automatic1111.images import InputRoles, assign_roles, size_rule
from models.backends.automatic1111.job import WebUIJobs, new_task_id
from models.backends.automatic1111.names import NameResolver, ResolvedNames, recognise
from models.backends.automatic1111.options import EXTRA_RULES, Options, read_options
from models.backends.automatic1111.results import (
    NO_API,
    OTHER_SERVICE,
    check_checkpoint,
    differences,
    explained,
    generated_images,
    infotexts,
    interrupted,
    kept_settings,
)
from models.backends.automatic1111.server_lists import ListName, ServerLists, find, read_list
from models.backends.automatic1111.wire import Generated, Generation, Info, Upscaled
from models.backends.base import Backend, Capabilities, Running
from models.backends.errors import BadRequest
from models.backends.http import Service
from models.backends.images import image_bytes
from models.backends.partial import Partial, collected, together
from models.backends.refusals import Fault
from models.backends.reply import Explanation, Reply, parse
from models.catalog import card_for
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage, ParameterValue
from models.parameters import MAX_SEED, Rule
from models.sizes import SeedRule, SizeRule

_PROBE_SECONDS = 15.0
_MAX_IMAGES = 8
_SEEDS = SeedRule(highest=MAX_SEED, drawn=2**32 - 2)  # the WebUI's own range of random seeds

_CHOICES: Mapping[str, tuple[ListName, ...]] = {
    "checkpoint": ("checkpoints",),
    "refiner_checkpoint": ("checkpoints",),
    "sampler": ("samplers",),
    "scheduler": ("schedulers",),
    "style_preset": ("styles",),
    "upscaler": ("upscalers",),
    "hires_upscaler": ("latent_upscalers", "upscalers"),
}
"""The parameters that a form offers as choices from the server's own lists."""


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """The images of one generation, and what the server says it did."""

    images: Partial
    info: Info
    notices: tuple[str, ...]


class Automatic1111(Backend):
    name: ClassVar[str] = "automatic1111"
    title: ClassVar[str] = "the AUTOMATIC1111 WebUI"
    prefix: ClassVar[str] = "automatic1111"
    required: ClassVar[tuple[str, ...]] = ("base_url",)
    extra_rules: ClassVar[tuple[Rule, ...]] = EXTRA_RULES
    tells_progress: ClassVar[bool] = True

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=_MAX_IMAGES, mask=True, second_image="mask")

    @override
    def rules(self) -> tuple[Rule, ...]:
        """Those of the shipped model, under whatever name."""
        card = card_for(self.name, self.name)
        return card.rules if card else ()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        return size_rule(request, read_options(request.extra))

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return None if read_options(request.extra).upscales else _SEEDS

    @override
    def needs_prompt(self, parameters: Mapping[str, ParameterValue]) -> bool:
        return not read_options(parameters).upscales

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        """While the server is off the form takes any name; names are checked when an image is asked for."""
        lists = ServerLists(self.service)
        return tuple(self._with_choices(rule, lists, deadline) for rule in self.rules())

    def _with_choices(self, rule: Rule, lists: ServerLists, deadline: Deadline) -> Rule:
        offered = [name.sent for source in _CHOICES.get(rule.name, ()) for name in lists.offered(source, deadline)]
        return rule.narrowed(options=tuple(dict.fromkeys(offered))) if offered else rule

    @property
    @override
    def address(self) -> str:
        """Also from the address of the API or of its page of documentation."""
        base_url = super().address.partition("?")[0].rstrip("/")
        return base_url.removesuffix("/docs").removesuffix("/sdapi/v1")

    @override
    def headers(self) -> Mapping[str, str]:
        # A kept connection may be one that Forge closed after an error, and a POST must not be sent twice.
        return {"Connection": "close"}

    @override
    def explain(self, reply: Reply) -> Explanation:
        return explained(reply, self.model.access)

    @override
    def check_access(self) -> Sequence[str]:
        deadline, service = self.within(_PROBE_SECONDS), self.service
        reply = service.request(
            "GET",
            "/sdapi/v1/sd-models",
            attempt="Asking the WebUI for its checkpoints",
            deadline=deadline,
            accept=(HTTPStatus.NOT_FOUND,),
        )
        if not reply.ok:
            raise self._no_api(service, deadline)
        checkpoints = read_list("checkpoints", reply.body)
        if self.model.access.checkpoint:
            find("checkpoint", self.model.access.checkpoint, checkpoints)
        return (f"{recognise(service, deadline).title} with {len(checkpoints)} checkpoints",)

    def _no_api(self, service: Service, deadline: Deadline) -> BadRequest:
        """The routes of the API are missing: a WebUI without `--api`, or something else altogether."""
        ping = service.request(
            "GET",
            "/internal/ping",
            attempt="Asking the WebUI for a sign of life",
            deadline=deadline,
            accept=(HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED),
        )
        if ping.ok:
            return BadRequest("The WebUI runs without its API", next_step=self._advice(NO_API))
        return BadRequest(
            f"There is no Stable Diffusion WebUI at {self.model.access.words('base_url')}",
            next_step=self._advice(OTHER_SERVICE),
        )

    def _advice(self, code: str) -> str:
        return explained(Fault(said="", codes=(code,)), self.model.access).next_step

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        options = read_options(request.extra)
        inputs = assign_roles(request, options)
        resolver = NameResolver(ServerLists(self.service), deadline)
        if options.upscales:
            return self._upscale(request, options, inputs, resolver)
        names = resolver.resolve(request, options, request.checkpoint or self.model.access.checkpoint)
        built = build(request, options, inputs, names)
        done = self._run(built.body, names, deadline)
        return self.result(
            replace(request, n=built.body.count),
            done.images,
            (
                *inputs.notices,
                *built.notices,
                *resolver.unfit_embeddings(request),
                *differences(done.info, built.body, options, names),
                *done.notices,
                *(infotexts(done.info) if options.infotext else ()),
            ),
        )

    def _run(self, body: Generation, names: ResolvedNames, deadline: Deadline) -> FinishedJob:
        """One job; what somebody interrupted or what another checkpoint made is refused. Raises ImageError."""
        attempt = f"Generating with {self.title}"
        jobs = WebUIJobs(self.service, attempt, self._tell)
        named = body.model_copy(update={"force_task_id": new_task_id()})
        overrides = bool(body.override_settings)
        with jobs.turn(deadline, names.checkpoint.sent if names.checkpoint else ""):
            before = jobs.settings() if overrides else None
            answer = jobs.run(generation_path(body), named.body(), deadline)
            generated = parse(answer.reply, Generated, attempt=attempt)
            info = Info.read(generated.info)
            after = jobs.aftermath(info.job_timestamp, settings=overrides)
        stopped = answer.late or (interrupted(attempt, "the images are unfinished") if after.interrupted else None)
        images = generated_images(generated, info, body, attempt, stopped=stopped)
        check_checkpoint(info, names, attempt)
        return FinishedJob(images, info, tuple(kept_settings(before, after.settings, body, names)))

    def _upscale(
        self, request: ImageRequest, options: Options, inputs: InputRoles, resolver: NameResolver
    ) -> ImageResult:
        """One job per input image. What was enlarged before one fails is kept."""
        upscaler = resolver.upscaler(options.upscaler)
        jobs = WebUIJobs(self.service, f"Upscaling with {self.title}", self._tell)

        def enlarge(image: InputImage) -> Partial:
            body = build_upscale(image, request, options, inputs, upscaler)
            with jobs.turn(resolver.deadline):
                answer = jobs.run(UPSCALE_PATH, body.body(), resolver.deadline)
            upscaled = parse(answer.reply, Upscaled, attempt=jobs.attempt)
            return Partial((GeneratedImage(image_bytes(upscaled.image, attempt=jobs.attempt)),))

        made = collected(together(enlarge, inputs.images, at_once=1))
        notices = (*inputs.notices, *upscale_notices(request, options))
        return self.result(replace(request, n=len(inputs.images)), made, notices)

    def _tell(self, words: str) -> None:
        self.on_progress(Running(words))
