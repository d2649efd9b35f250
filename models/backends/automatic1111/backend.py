"""AUTOMATIC1111's WebUI, Forge, reForge and SD.Next: one blocking call per image, names checked before it is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from models.backends.automatic1111.build import build, generation_path
from models.backends.automatic1111.explain import START_WITH_API, explain_for
from models.backends.automatic1111.inputs import Inputs, sort_inputs
from models.backends.automatic1111.job import Jobs, new_task_id
from models.backends.automatic1111.lists import ListName, Lists, read_list
from models.backends.automatic1111.names import find
from models.backends.automatic1111.options import EXTRA_RULES, Options, read_options
from models.backends.automatic1111.parse import (
    check_checkpoint,
    decoded,
    differences,
    infotexts,
    interrupted,
    kept_settings,
    pictures,
)
from models.backends.automatic1111.resolve import Resolved, Resolver
from models.backends.automatic1111.servers import recognise
from models.backends.automatic1111.upscale import UPSCALE_PATH, build_upscale, upscale_notices
from models.backends.automatic1111.wire import Generated, Img2Img, Info, Txt2Img, Upscaled
from models.backends.base import Backend, Capabilities, Running
from models.backends.errors import BadRequest
from models.backends.http import Service, basic_auth, bearer_auth, split_userinfo
from models.backends.reply import parse
from models.catalog import card_for
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.parameters import Rule

_PROBE_SECONDS = 15.0
_FORM_SECONDS = 3.0  # for all lists of a form together
_MAX_IMAGES = 8
_ATTEMPT = "Generating with the WebUI"

_OFFERED: Mapping[str, tuple[ListName, ...]] = {
    "checkpoint": ("checkpoints",),
    "refiner_checkpoint": ("checkpoints",),
    "sampler": ("samplers",),
    "scheduler": ("schedulers",),
    "style_preset": ("styles",),
    "upscaler": ("upscalers",),
    "hires_upscaler": ("latent_upscalers", "upscalers"),
}
"""The parameters of a customizable model's form that are chosen from the server's own lists."""


@dataclass(frozen=True, slots=True)
class _Painted:
    generated: Generated
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
    def capabilities(self) -> Capabilities:
        return Capabilities(images=_MAX_IMAGES, mask=True, second_image="mask")

    def invoke(self, request: ImageRequest) -> ImageResult:
        self.require_access()
        self.check_inputs(request)
        options = read_options(request.extra)
        inputs = sort_inputs(request, options)
        deadline = self.deadline(request)
        if options.upscales:
            return self._upscale(request, options, inputs, deadline)
        return self._generate(request, options, inputs, deadline)

    def check_access(self) -> Sequence[str]:
        self.require_access()
        deadline = Deadline.after(self.clock, _PROBE_SECONDS)
        service = self._service()
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

    def rules(self) -> tuple[Rule, ...]:
        """Those of the shipped model, under whatever name; names on the server are checked when they are resolved."""
        card = card_for(self.name, self.name)
        return card.rules if card else ()

    def form(self) -> tuple[Rule, ...]:
        """A customizable model's form offers what the server has; while the server is off it takes any name."""
        lists, deadline = Lists(self._service(), self.model.access), Deadline.after(self.clock, _FORM_SECONDS)
        return tuple(self._offering(rule, lists, deadline) for rule in self.rules())

    def _offering(self, rule: Rule, lists: Lists, deadline: Deadline) -> Rule:
        offered = [name.sent for source in _OFFERED.get(rule.name, ()) for name in lists.offered(source, deadline)]
        return rule.narrowed(options=tuple(dict.fromkeys(offered))) if offered else rule

    def _generate(self, request: ImageRequest, options: Options, inputs: Inputs, deadline: Deadline) -> ImageResult:
        service = self._service()
        resolver = Resolver(Lists(service, self.model.access), deadline)
        names = resolver.resolve(request, options, request.checkpoint or self.model.access.checkpoint)
        built = build(request, options, inputs, names)
        jobs = Jobs(service, _ATTEMPT, self._tell)
        painted = self._painted(jobs, built.body, names, deadline)
        info = painted.info
        return self.result(
            request,
            pictures(painted.generated, info, built.body.count, _ATTEMPT),
            (
                *inputs.notices,
                *built.notices,
                *resolver.unfit_embeddings(request),
                *differences(info, built.body, options, names),
                *painted.notices,
                *(infotexts(info) if options.infotext else ()),
            ),
        )

    def _painted(self, jobs: Jobs, body: Txt2Img | Img2Img, names: Resolved, deadline: Deadline) -> _Painted:
        """Paint, and refuse what somebody interrupted or what another model painted. Raises ImageError."""
        named = body.model_copy(update={"force_task_id": new_task_id()})
        overrides = bool(body.override_settings)
        with jobs.turn(deadline, names.checkpoint.sent if names.checkpoint else ""):
            before = jobs.settings() if overrides else None
            reply = jobs.run(generation_path(body), named.body(), deadline)
            generated = parse(reply, Generated, attempt=_ATTEMPT)
            info = Info.read(generated.info)
            after = jobs.aftermath(info.job_timestamp, settings=overrides)
        if after.interrupted:
            raise interrupted(_ATTEMPT, "the images are unfinished")
        check_checkpoint(info, names, _ATTEMPT)
        return _Painted(generated, info, tuple(kept_settings(before, after.settings, body, names)))

    def _upscale(self, request: ImageRequest, options: Options, inputs: Inputs, deadline: Deadline) -> ImageResult:
        service = self._service()
        upscaler = Resolver(Lists(service, self.model.access), deadline).upscaler(options.upscaler)
        jobs = Jobs(service, "Upscaling with the WebUI", self._tell)
        made = []
        for picture in inputs.pictures:
            body = build_upscale(picture, request, options, upscaler)
            with jobs.turn(deadline):
                reply = jobs.run(UPSCALE_PATH, body.body(), deadline)
            made.append(GeneratedImage(decoded(parse(reply, Upscaled, attempt=jobs.attempt).image, jobs.attempt)))
        return self.result(request, made, (*inputs.notices, *upscale_notices(request, options)))

    def _tell(self, words: str) -> None:
        self.on_progress(Running(words))

    def _service(self) -> Service:
        access = self.model.access
        base_url, user, password = split_userinfo(access.base_url)
        login = bearer_auth(access.api_key) or basic_auth(access.username or user, access.password or password)
        return Service(
            name="the WebUI",
            base_url=base_url.rstrip("/").removesuffix("/sdapi/v1"),  # as people copy it from the API's page
            clock=self.clock,
            settings=f"`{access.field('base_url')}` {access.place}",
            # A kept connection may be one that Forge closed after an error, and a POST must not be sent twice.
            headers={**login, "Connection": "close"},
            secrets=(*access.secrets, password),
            explain=explain_for(access),
        )

    def _no_api(self, service: Service, deadline: Deadline) -> BadRequest:
        """The routes of the API are missing: a WebUI without `--api`, or something else altogether."""
        field = self.model.access.field("base_url")
        ping = service.request(
            "GET",
            "/internal/ping",
            attempt="Asking the WebUI for a sign of life",
            deadline=deadline,
            accept=(HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED),
        )
        if ping.ok:
            return BadRequest("The WebUI runs without its API", next_step=START_WITH_API)
        return BadRequest(
            f"There is no Stable Diffusion WebUI at `{field}`",
            next_step=f"Check the address in `{field}` {self.model.access.place}: it is the one that opens the WebUI in a browser",
        )
