"""AUTOMATIC1111's WebUI, Forge, reForge and SD.Next: one blocking call per request, names checked before it is sent."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, override

from models.backends.automatic1111.build import (
    EXTRA_RULES,
    SIZES,
    Generation,
    InputRoles,
    Options,
    ResolvedNames,
    build,
    without_effect,
)
from models.backends.automatic1111.job import WebUIJobs
from models.backends.automatic1111.names import NameResolver, server_title
from models.backends.automatic1111.results import (
    NO_API,
    OTHER_SERVICE,
    Generated,
    Info,
    Upscaled,
    check_checkpoint,
    differences,
    explained,
    generated_images,
    infotexts,
    interrupted,
    kept_settings,
)
from models.backends.automatic1111.server_lists import CHOICES, NO_ROUTE, ServerLists, find, lookup, unknown_name
from models.backends.base import Capabilities
from models.backends.errors import BadRequest
from models.backends.http import Service
from models.backends.images import image_bytes
from models.backends.partial import Partial, collected, together
from models.backends.refusals import Fault
from models.backends.reply import Explanation, Reply, parse
from models.backends.servers import PooledBackend, Standing
from models.catalog import card_for
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult, InputImage, ParameterValue
from models.parameters import MAX_SEED, Rule
from models.sizes import SeedRule, SizeRule

_PROBE_SECONDS = 15.0
_MAX_IMAGES = 8
_SEEDS = SeedRule(highest=MAX_SEED, drawn=2**32 - 2)  # the WebUI's own range of random seeds


class Automatic1111(PooledBackend):
    name: ClassVar[str] = "automatic1111"
    title: ClassVar[str] = "the AUTOMATIC1111 WebUI"
    prefix: ClassVar[str] = "automatic1111"
    required: ClassVar[tuple[str, ...]] = ("base_url",)
    extra_rules: ClassVar[tuple[Rule, ...]] = EXTRA_RULES
    charges: ClassVar[bool] = False
    tells_progress: ClassVar[bool] = True

    @property
    @override
    def capabilities(self) -> Capabilities:
        return Capabilities(images=_MAX_IMAGES, mask=True)

    @override
    def rules(self) -> tuple[Rule, ...]:
        """The shipped model's, also for models of your own."""
        card = card_for(self.name, self.name)
        return card.rules if card else ()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule:
        if not request.images:
            return SIZES
        from models.backends.automatic1111.images import size_rule  # noqa: PLC0415 -- it needs Pillow

        return size_rule(request.images[0], Options.model_validate(request.extra))

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        return None if Options.model_validate(request.extra).upscales else _SEEDS

    @override
    def needs_prompt(self, parameters: Mapping[str, ParameterValue]) -> bool:
        return not Options.model_validate(parameters).upscales

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        """If the server is unreachable the form accepts any name; names are checked again for each request."""
        lists = ServerLists(self.service, deadline)
        return tuple(self._with_choices(rule, lists) for rule in self.rules())

    def _with_choices(self, rule: Rule, lists: ServerLists) -> Rule:
        offered = [name.sent for source in CHOICES.get(rule.name, ()) for name in lists.offered(source)]
        return rule.narrowed(options=tuple(dict.fromkeys(offered))) if offered else rule

    @property
    @override
    def address(self) -> str:
        """The WebUI's address, also if that of its API or documentation was pasted."""
        base_url = super().address.partition("?")[0].rstrip("/")
        return base_url.removesuffix("/docs").removesuffix("/sdapi/v1")

    @override
    def headers(self) -> Mapping[str, str]:
        # Forge closes a connection after an error, and a POST on a reused one must not be sent twice.
        return {"Connection": "close"}

    @override
    def explain(self, reply: Reply) -> Explanation:
        return explained(reply, self.model.access)

    @override
    def check_access(self) -> Sequence[str]:
        deadline, service = self.within(_PROBE_SECONDS), self.service
        checkpoints = ServerLists(service, deadline).get("checkpoints", fresh=True)
        if checkpoints is None:
            raise self._no_api(service, deadline)
        if self.model.access.checkpoint:
            find("checkpoint", self.model.access.checkpoint, checkpoints)
        return (f"{server_title(service, deadline)} with {len(checkpoints)} checkpoints",)

    def _no_api(self, service: Service, deadline: Deadline) -> BadRequest:
        code, attempted = OTHER_SERVICE, f"There is no Stable Diffusion WebUI at {self.model.access.words('base_url')}"
        attempt = "Pinging the WebUI"
        if service.request("GET", "/internal/ping", attempt=attempt, deadline=deadline, accept=NO_ROUTE).ok:
            code, attempted = NO_API, "The WebUI runs without its API"
        return BadRequest(attempted, next_step=explained(Fault(said="", codes=(code,)), self.model.access).next_step)

    @override
    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        service = self.service
        jobs = WebUIJobs(service, "Asking the WebUI for its state", self.on_progress, self.within)
        checkpoints = ServerLists(service, deadline).get("checkpoints", fresh=fresh) or ()
        settings = jobs.reachable_settings(deadline)
        asked = request.checkpoint or self.model.access.checkpoint
        if not asked:
            return Standing(loaded=True, waiting=jobs.waiting())
        found = lookup(asked, checkpoints)
        if found is None:
            return Standing(lacks=unknown_name("checkpoint", asked, [name.sent for name in checkpoints]).attempted)
        return Standing(loaded=found.means(settings.checkpoint), waiting=jobs.waiting())

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        options = Options.model_validate(request.extra)
        inputs = self._inputs(request, options)
        resolver = NameResolver(ServerLists(self.service, deadline))
        if options.upscales:
            return self._upscale(request, options, inputs, resolver)
        names = resolver.resolve(request, options, request.checkpoint or self.model.access.checkpoint)
        body = build(request, options, inputs, names)
        images, info, kept = self._run(body, names, deadline)
        return self.result(
            replace(request, n=body.count),
            images,
            (
                *inputs.notices,
                *without_effect(request, options, inputs),
                *resolver.unfit_embeddings(request),
                *differences(info, body, options, names),
                *kept,
                *(infotexts(info) if options.infotext else ()),
            ),
        )

    def _inputs(self, request: ImageRequest, options: Options) -> InputRoles:
        if not (request.images or request.mask or options.needs_image):
            return InputRoles()
        from models.backends.automatic1111.images import assign_roles  # noqa: PLC0415 -- it needs Pillow

        return assign_roles(request, options)

    def _run(self, body: Generation, names: ResolvedNames, deadline: Deadline) -> tuple[Partial, Info, tuple[str, ...]]:
        """The images of one job, the server's report, and notices about settings that it keeps.

        Interrupted jobs and images of another checkpoint are refused. Raises ImageError.
        """
        attempt = f"Generating with {self.title}"
        jobs = WebUIJobs(self.service, attempt, self.on_progress, self.within)
        # The format of the servers' own ids.
        named = body.model_copy(update={"force_task_id": f"task(dify-{uuid.uuid4().hex})"})
        with jobs.turn(deadline, names.checkpoint.sent if names.checkpoint else ""):
            before = jobs.settings() if body.override_settings else None
            self.handed_over = True
            reply, late = jobs.run(body.path, named.body(), deadline)
            generated = parse(reply, Generated, attempt=attempt)
            info = Info.read(generated.info)
            after = jobs.settings() if before else None
            stopped = jobs.was_interrupted(info.job_timestamp)
        reason = late or (interrupted(attempt, "the images are unfinished") if stopped else None)
        images = generated_images(generated, info, body, attempt, stopped=reason)
        check_checkpoint(info, names, attempt)
        ours = stopped is not None  # else the next job may have changed the settings
        kept = kept_settings(before, after, body, names) if ours and before and after else ()
        return images, info, tuple(kept)

    def _upscale(
        self, request: ImageRequest, options: Options, inputs: InputRoles, resolver: NameResolver
    ) -> ImageResult:
        """One job per input image. Images that were enlarged before a failure are kept."""
        from models.backends.automatic1111.images import build_upscale, upscale_notices  # noqa: PLC0415 -- as above

        upscaler, deadline = resolver.named("upscaler", options.upscaler, "upscalers"), resolver.lists.deadline
        jobs = WebUIJobs(self.service, f"Upscaling with {self.title}", self.on_progress, self.within)

        def enlarge(image: InputImage) -> Partial:
            body = build_upscale(image, request, options, inputs, upscaler)
            with jobs.turn(deadline):
                self.handed_over = True
                reply, _ = jobs.run("/sdapi/v1/extra-single-image", body, deadline)
            upscaled = parse(reply, Upscaled, attempt=jobs.attempt)
            return Partial((GeneratedImage(image_bytes(upscaled.image, attempt=jobs.attempt)),))

        made = collected(together(enlarge, inputs.images, at_once=1))
        notices = (*inputs.notices, *upscale_notices(request, options))
        return self.result(replace(request, n=len(inputs.images)), made, notices)
