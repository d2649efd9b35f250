"""The backend: any server that speaks `/v1/images/generations` and `/v1/images/edits`.

Source: OpenAI's API description and the code of the servers that copy it; `dialects.py` holds what differs.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

from models.backends.base import Backend, Capabilities
from models.backends.errors import AuthorizationFailed, BadRequest, unsupported
from models.backends.http import Service, basic_auth, bearer_auth, split_userinfo
from models.backends.openai_images.answer import pictures
from models.backends.openai_images.build import Wire, build
from models.backends.openai_images.detect import Finding, ask, glance, has_endpoint, hosted, recognise
from models.backends.openai_images.dialects import AUTO, DIALECTS, OPENAI, Dialect
from models.backends.openai_images.families import NEWEST_AT_OPENAI, family_of
from models.backends.openai_images.prepare import prepared
from models.backends.openai_images.refusals import MISSING_SCOPES, Refusals
from models.backends.openai_images.results import Fetcher
from models.backends.openai_images.rules import EXTRA_RULES, rules_for, rules_for_any
from models.backends.openai_images.server import Server
from models.backends.openai_images.sizes import written
from models.backends.partial import each
from models.backends.reply import Reply, said_by
from models.clock import Deadline
from models.entities import GeneratedImage, ImageRequest, ImageResult
from models.parameters import Rule

CHECK_SECONDS = 20.0
_ANY = Capabilities(images=16, mask=True)


class OpenAIImages(Backend):
    """OpenAI, vLLM-Omni, SGLang, LocalAI, stable-diffusion.cpp, SiliconFlow, and what else speaks their language."""

    name = "openai_images"
    title = "the images server"
    prefix = "openai"
    required = ("base_url",)
    extra_rules: ClassVar[tuple[Rule, ...]] = EXTRA_RULES

    # Who the server is.

    @property
    def chosen(self) -> Dialect | None:
        """The dialect named in the form; None for `auto`. Raises BadRequest for a word that is none."""
        word = self.model.access.dialect or AUTO
        if word != AUTO and word not in DIALECTS:
            access = self.model.access
            raise BadRequest(
                f"There is no dialect {word!r}",
                next_step=f"Choose one of {', '.join((AUTO, *DIALECTS))} in `{access.field('dialect')}` {access.place}",
            )
        return DIALECTS.get(word)

    @cached_property
    def service(self) -> Service:
        access = self.model.access
        root, user, password = split_userinfo(root_of(access.base_url) or (self.chosen.home if self.chosen else ""))
        login = bearer_auth(access.api_key) or basic_auth(access.username or user, access.password or password)
        return Service(
            name="the images server",
            base_url=root,
            clock=self.clock,
            settings=f"`{access.field('base_url')}` {access.place}",
            headers=login,
            secrets=tuple(secret for secret in (*access.secrets, password) if secret),
            explain=Refusals(access).explain,
        )

    def require_access(self) -> None:
        if not (self.chosen and self.chosen.home):
            super().require_access()

    def _glanced(self) -> Finding | None:
        """What is known of the server without waiting long; nothing where nothing needs to be asked."""
        if self.chosen and not self.chosen.worth_asking:
            return Finding(self.chosen, "")
        seen = glance(self.service) if self.service.base_url else None
        if self.chosen:
            return replace(seen, dialect=self.chosen) if seen else Finding(self.chosen, "")
        return seen

    def _recognised(self, deadline: Deadline) -> Finding:
        return self._glanced() or recognise(self.service, deadline)

    def server(self, finding: Finding) -> Server:
        remote, dialect = self.model.remote, finding.dialect
        family = family_of(finding.names_of(remote), dialect)
        official = hosted(self.service.base_url)
        if not family.name and dialect is OPENAI and official and official.dialect is OPENAI:
            family = NEWEST_AT_OPENAI
        return Server(
            dialect=dialect,
            family=family,
            remote=remote,
            samplers=finding.samplers,
            schedulers=finding.schedulers,
        )

    @cached_property
    def _seen(self) -> Server | None:
        finding = self._glanced()
        return self.server(finding) if finding else None

    @property
    def capabilities(self) -> Capabilities:
        return self._seen.capabilities if self._seen else _ANY

    def rules(self) -> tuple[Rule, ...]:
        try:
            return rules_for(self._seen) if self._seen else rules_for_any()
        except BadRequest:  # a dialect that does not exist is reported when the model is used
            return rules_for_any()

    # One request.

    def invoke(self, request: ImageRequest) -> ImageResult:
        self.require_access()
        deadline = self.deadline(request)
        finding = self._recognised(deadline)
        server = self.server(finding)
        self._check(request, server)
        ready = prepared(request, server)
        wire = build(ready, server)
        service = replace(self.service, explain=self._refusals(finding).explain)
        attempt = f"{'Editing' if request.images else 'Generating'} with {server.dialect.title}"
        reply = self._send(service, wire, deadline, attempt)
        found, told_seed = pictures(reply, attempt)
        if not found and _says_error(reply):
            raise service.failure(attempt, self._refusals(finding).explain_success(reply))
        seeds = _seeds(wire, server, told_seed, len(found))
        fetcher = Fetcher(service=service, attempt=attempt, deadline=deadline, kept=server.dialect.urls_expire)
        made = each(lambda one: fetcher.image(*one), zip(found, seeds, strict=True))
        missing = made.notices(request.n)
        return self.result(ready, made.images, (*wire.notices, *_notices(made.images, wire, request, server), *missing))

    def _check(self, request: ImageRequest, server: Server) -> None:
        if request.mask is not None and not server.masks:
            ignored = ", which would take one and ignore it" if server.dialect.ignores_masks else ""
            raise unsupported(
                f"masks on {server.dialect.title}{ignored}",
                model=server.remote,
                way_out="Describe the region in words, or use ComfyUI or AUTOMATIC1111 for inpainting",
            )
        self._seen = server  # capabilities are judged by what the server turned out to be
        self.check_inputs(request)

    def _refusals(self, finding: Finding) -> Refusals:
        return Refusals(self.model.access, finding.shown)

    def _send(self, service: Service, wire: Wire, deadline: Deadline, attempt: str) -> Reply:
        form = wire.route.body == "form"
        return service.request(
            "POST",
            wire.route.path,
            attempt=attempt,
            deadline=deadline,
            json=None if form else wire.json_body,
            form=wire.form if form else None,
            read_timeout=deadline.remaining,  # minutes are normal, and most servers say nothing until they are done
        )

    # The credential form.

    def check_access(self) -> Sequence[str]:
        self.require_access()
        deadline = Deadline.after(self.clock, CHECK_SECONDS)
        finding = self._asked(deadline)
        server = self.server(replace(finding, dialect=self.chosen or finding.dialect))
        return [
            *_taken(self.chosen, finding),
            *self._model_said(server, finding),
            *self._endpoints_said(server, deadline),
        ]

    def _asked(self, deadline: Deadline) -> Finding:
        """What the server says about itself. A restricted key of OpenAI may paint and not list models."""
        try:
            return ask(self.service, deadline)
        except AuthorizationFailed as error:
            known = hosted(self.service.base_url) or (Finding(self.chosen, "") if self.chosen else None)
            if known is None or MISSING_SCOPES not in error.said.lower():
                raise
            return known

    def _endpoints_said(self, server: Server, deadline: Deadline) -> list[str]:
        """A vLLM or SGLang server for text looks the same from its model list; its missing endpoints tell."""
        dialect = server.dialect
        if not dialect.fastapi:
            return []
        if not has_endpoint(self.service, dialect.generate.path, deadline):
            raise BadRequest(
                f"{self.service.base_url} has no images API",
                f"it looks like {dialect.title}, and /{dialect.generate.path} is not there",
                "Start the server with an image model (vLLM: `vllm serve <model> --omni`)",
            )
        if server.images and not has_endpoint(self.service, dialect.edit.path, deadline):
            return [f"The server has no /{dialect.edit.path}: it paints and does not edit; newer versions do."]
        return []

    def _model_said(self, server: Server, finding: Finding) -> list[str]:
        listed = finding.shown
        if server.dialect.model_name == "ignored":
            return []
        if listed and not finding.serves(self.model.remote):
            if server.dialect.model_name == "exact":
                access = self.model.access
                raise BadRequest(
                    f"The server has no model {self.model.remote!r}",
                    f"it lists {listed}",
                    f"Write one of them into `{access.field('remote_model')}` {access.place}",
                )
            return [f"{self.model.remote} is not among the models that the server lists ({listed})."]
        known = [f"{self.model.remote} is treated as {server.family.name}."] if server.family.name else []
        return known if listed else [*known, f"No models are listed, so {self.model.remote} could not be looked up."]

    def known_models(self) -> Sequence[str]:
        finding = self._glanced()
        return [model.id for model in finding.models] if finding else []


_ENDPOINT = re.compile(r"/v1(/(images|models)(/\w+)?)?$")


def root_of(base_url: str) -> str:
    """The address before `/v1`: users paste it with and without, and sometimes the whole endpoint."""
    return _ENDPOINT.sub("", base_url.rstrip("/"))


def _taken(chosen: Dialect | None, finding: Finding) -> list[str]:
    if chosen:
        other = finding.dialect if finding.tell and finding.dialect is not chosen else None
        doubt = f", although the server looks like {other.title} ({other.name}): {finding.tell}" if other else ""
        return [f"The dialect {chosen.name} ({chosen.title}) is used as chosen{doubt}."]
    if finding.tell:
        return [f"The server was recognised as {finding.dialect.title} ({finding.dialect.name}): {finding.tell}."]
    return [
        "The server was not recognised, so only the portable core of the OpenAI images API is used; choose a dialect "
        "for steps, seed and negative prompt."
    ]


def _says_error(reply: Reply) -> bool:
    match reply.json():
        case {"error": _} | {"detail": _} | {"message": str()}:
            return bool(said_by(reply).partition(",")[2])
        case _:
            return False


def _seeds(wire: Wire, server: Server, told: int | None, count: int) -> list[int | None]:
    seed = told if told is not None else wire.seed
    if seed is None:
        return [None] * count
    step = 1 if server.dialect.seeds == "counted" else 0
    return [seed + step * index for index in range(count)]


def _notices(images: Sequence[GeneratedImage], wire: Wire, request: ImageRequest, server: Server) -> list[str]:
    notices = []
    if wire.seed is not None and server.dialect.seeds == "repeated" and request.n > 1:
        notices.append(f"{server.dialect.title} paints the same image for the same seed: all {request.n} are alike.")
    made = {image.size for image in images} - {wire.size}
    if wire.size and made:
        sizes = ", ".join(written(size) for size in sorted(made))
        notices.append(f"The server was asked for {written(wire.size)} and made {sizes}.")
    if server.dialect.urls_expire and any(image.url for image in images):
        notices.append(f"The public address of the image works for {server.dialect.urls_expire}.")
    return notices
