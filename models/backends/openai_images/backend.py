"""The backend: any server with `images/generations` and `images/edits`.

Source: OpenAI's API description and the code of the servers that copy it; `dialects.yaml` holds what differs.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, override

from models.backends.base import PROBE_SECONDS, Capabilities, Model
from models.backends.errors import BadRequest, unsupported
from models.backends.http import Retries, Service, with_scheme
from models.backends.images import ImageFetcher, ParsedReply
from models.backends.openai_images.build import Wire, build, prepared, route_for
from models.backends.openai_images.client import ImagesClient, Refusals, as_reply
from models.backends.openai_images.detect import AccessCheck, Address, Detector, Finding
from models.backends.openai_images.models import (
    EXTRA_RULES,
    Dialect,
    ServedModel,
    dialects,
    family_of,
    rules_for,
    rules_for_any,
)
from models.backends.openai_images.prices import price_of
from models.backends.partial import Partial, each
from models.backends.reply import Explanation, Reply
from models.backends.servers import PooledBackend, Standing
from models.clock import Clock, Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.images.inputs import size_of
from models.parameters import FORM_ONLY, Rule
from models.sizes import SeedRule, SizeRule

_ANY = Capabilities(images=16, mask=True, second_image="image")


class OpenAIImages(PooledBackend):
    """OpenAI, vLLM-Omni, SGLang, LocalAI, stable-diffusion.cpp, SiliconFlow, and compatible gateways."""

    name = "openai_images"
    title = "the images server"
    prefix = "openai"
    required = ("base_url",)
    extra_rules: ClassVar[tuple[Rule, ...]] = EXTRA_RULES
    form_only: ClassVar[frozenset[str]] = FORM_ONLY | {"steps", "cfg_scale"}

    def __init__(self, model: Model, clock: Clock) -> None:
        super().__init__(model, clock)
        self._learned: Finding | None = None

    # Which server, and how it is reached.

    @property
    def chosen(self) -> Dialect | None:
        """The dialect named in the form; None for `auto`."""
        return dialects().get(self.model.access.dialect)

    @cached_property
    def endpoints(self) -> Address:
        return Address.of(with_scheme(self.model.access.base_url) or (self.chosen.home if self.chosen else ""))

    @property
    @override
    def address(self) -> str:
        return self.endpoints.root

    @property
    @override
    def service(self) -> Service:
        service, access = super().service, self.model.access
        header = self.chosen.key_header if self.chosen else ""
        if access.api_key and (header or self.endpoints.wants_api_key_header):
            headers = {name: value for name, value in service.headers.items() if name != "Authorization"}
            return replace(service, headers={header or "api-key": access.api_key, **headers})
        return service

    @override
    def require_access(self) -> None:
        access = self.model.access
        choices = ("auto", *dialects())
        if access.dialect not in {"", *choices}:
            raise BadRequest(
                f"There is no dialect {access.dialect!r}",
                next_step=f"Choose one of {', '.join(choices)} in {access.where('dialect')}",
            )
        if not (self.chosen and self.chosen.home):
            super().require_access()
        if self.endpoints.lacks_version:
            raise BadRequest(
                "The address of an Azure deployment needs its API version",
                next_step=f"Copy the whole target URI, with ?api-version=…, from the deployment's page into "
                f"{access.where('base_url')}",
            )

    @override
    def explain(self, reply: Reply) -> Explanation:
        return self._refusals.explain(reply)

    @property
    def _refusals(self) -> Refusals:
        return Refusals(self.model.access, self.finding.shown if self.finding else "")

    # What is known about the model, from the form, the address and `learn`.

    @property
    def detector(self) -> Detector:
        return Detector(self.service, self.endpoints)

    @property
    def finding(self) -> Finding | None:
        """The recognised server, if that is known without a request."""
        if self._learned:
            return self._learned
        if self.chosen and not self.chosen.worth_asking:
            return Finding(self.chosen)
        known = self.detector.known
        return replace(known, dialect=self.chosen) if known and self.chosen else known

    @property
    def served(self) -> ServedModel | None:
        """The bound model, if its server is known; a chosen dialect is used for a server that cannot be recognised."""
        finding = self.finding or (Finding(self.chosen) if self.chosen else None)
        return self.served_by(finding) if finding else None

    def served_by(self, finding: Finding) -> ServedModel:
        remote, dialect = self.model.remote, finding.dialect
        family = family_of(finding.names_of(remote), dialect)
        anywhere = dialect.model_name == "deployment"
        if not family.name and dialect.newest and (anywhere or dialect.is_at(self.endpoints.host)):
            family = family_of((dialect.newest,), dialect)
        return ServedModel(dialect, family, remote, finding.samplers, finding.schedulers)

    @property
    @override
    def capabilities(self) -> Capabilities:
        return self.served.capabilities if self.served else _ANY

    @override
    def rules(self) -> tuple[Rule, ...]:
        return rules_for(self.served) if self.served else rules_for_any()

    @override
    def sizes(self, request: ImageRequest) -> SizeRule | None:
        served = self.served
        first = size_of(request.images[0]) if request.images else None
        return served.sizes(route_for(request, served), first) if served else None

    @override
    def seeds(self, request: ImageRequest) -> SeedRule | None:
        served = self.served
        return served.seeds(route_for(request, served), request.n) if served else None

    # Methods that send requests.

    @override
    def learn(self, deadline: Deadline) -> None:
        if self.finding is None and self.chosen is None:
            self._learned = self.detector.ask(deadline, Retries())
        else:
            self._learn_quickly(deadline)  # optional: the request itself reports errors

    def _learn_quickly(self, deadline: Deadline) -> None:
        found = None if self.finding else self.detector.ask_quickly(deadline)
        if found:
            self._learned = replace(found, dialect=self.chosen or found.dialect)

    @override
    def live_form(self, deadline: Deadline) -> tuple[Rule, ...]:
        self._learn_quickly(deadline)  # if the server is unreachable, the form shows every parameter
        return self.rules()

    @override
    def standing(self, request: ImageRequest, deadline: Deadline, *, fresh: bool) -> Standing:
        """No server of this kind tells its queue; those that serve one model name it exactly."""
        models = self.detector.models(deadline)
        exact = self.served and self.served.dialect.model_name == "exact"
        if exact and models and all(model.id != self.model.remote for model in models):
            return Standing(lacks=f"it does not serve {self.model.remote}")
        return Standing()

    # One request.

    @override
    def check_inputs(self, request: ImageRequest) -> None:
        served = self.served
        if request.mask is not None and served and not served.masks:
            ignored = ", which would ignore it" if served.dialect.ignores_masks else ""
            raise unsupported(
                f"masks on {served.dialect.title}{ignored}",
                model=served.remote,
                way_out="Describe the region in words, or use ComfyUI or AUTOMATIC1111 for inpainting",
            )
        super().check_inputs(request)

    @override
    def _generate(self, request: ImageRequest, deadline: Deadline) -> ImageResult:
        self.learn(deadline)
        self.check_inputs(request)  # once more: the server may have been unknown before
        assert self.served  # noqa: S101 -- known since `learn`
        served, service = self.served, self.service
        ready = prepared(request, served)
        wire = build(ready, served)
        if self.endpoints.is_deployment:
            wire = wire.without("model")  # the address names it, and some models refuse the key
        attempt = f"{'Editing' if request.images else 'Generating'} with {served.dialect.title}"
        client = ImagesClient(
            service=service, address=self.endpoints, remote=served.remote, attempt=attempt, deadline=deadline
        )
        self.handed_over = True
        wire, answer = self._answer(client, wire)
        fetcher = ImageFetcher(service=service, attempt=attempt, deadline=deadline, kept=served.dialect.urls_expire)
        sources = zip(answer.images, _seeds(wire, request, answer), strict=True)
        made = each(lambda source: fetcher.image(*source), sources) + self._failed(answer, attempt)
        # A gateway resells the tokens at a price of its own.
        price = price_of(answer.usage, served.remote) if served.dialect.is_at(self.endpoints.host) else None
        return self.result(ready, made, (*wire.notices, *_notices(made.images, wire, request, served)), price)

    def _answer(self, client: ImagesClient, wire: Wire) -> tuple[Wire, ParsedReply]:
        """The call as the server took it, and its parsed reply. Raises the error of a reply without any image, whatever its status."""
        wire, reply, answer = client.answer(wire)
        if answer.images or answer.faults:
            return wire, answer
        raise client.service.failure(client.attempt, self._refusals.explain_success(reply))

    def _failed(self, answer: ParsedReply, attempt: str) -> Partial:
        refused = (self._refusals.explain_success(as_reply(fault)) for fault in answer.faults)
        return Partial(failures=tuple(self.service.failure(attempt, meaning) for meaning in refused))

    # The credential form.

    @override
    def check_access(self) -> Sequence[str]:
        check = AccessCheck(self.model, self.detector, self.chosen, self.within(PROBE_SECONDS))
        finding = check.finding()
        return check.sentences(finding, self.served_by(replace(finding, dialect=self.chosen or finding.dialect)))


def _seeds(wire: Wire, request: ImageRequest, answer: ParsedReply) -> list[int | None]:
    """As the server reports them, else as they were asked for."""
    count = len(answer.images)
    if answer.seed is not None:
        return [answer.seed] * count
    asked = request.seeds if wire.has_seed else ()
    return [*asked, *[None] * count][:count]


def _notices(images: Sequence[GeneratedImage], wire: Wire, request: ImageRequest, served: ServedModel) -> list[str]:
    notices = []
    if wire.has_seed and served.dialect.seeds == "repeated" and request.n > 1:
        notices.append(f"{served.dialect.title} makes the same image for the same seed: all {request.n} are identical.")
    made = {image.size for image in images} - {request.size}
    if request.size and made:
        sizes = ", ".join("{}x{}".format(*size) for size in sorted(made))
        notices.append("The requested size was {}x{}; the server made {}.".format(*request.size, sizes))
    if served.dialect.urls_expire and any(image.url for image in images):
        notices.append(f"The public address of the image works for {served.dialect.urls_expire}.")
    return notices
