"""The provider: its credential check and the common parameter rules."""

from collections.abc import Iterator
from typing import Any, ClassVar

import gevent
from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeError
from dify_plugin.interfaces import model as host

from models import stages
from models.backends.base import Backend
from models.backends.errors import BadRequest, host_errors, logger
from models.backends.registry import BACKENDS
from models.backends.server_pool import pooled
from models.catalog import cards
from models.limits import Limits
from models.messages import about, in_words, say
from models.parameters import PROMPT_RULE, VOCABULARY, Rule
from models.settings import Settings

_EMPTY_FORM = {"form": "empty"}
"""Stored in place of an empty form: Dify shows no model any parameters while a provider's stored credentials are empty."""


class ImageGenerationProvider(host.ModelProvider):
    """All services behind one credential form."""

    IMAGE_GENERATION: ClassVar[tuple[Rule, ...]] = (PROMPT_RULE, *VOCABULARY)
    """The rules of the common parameters, including `prompt`; the model cards narrow them."""

    def validate_provider_credentials(self, credentials: dict[str, Any]) -> None:
        """Probe every configured service in parallel, without generating an image or any cost.

        An empty form is valid: it enables the preview model and the services that the environment configures. Dify
        stores what this check adds to `credentials`. Raises CredentialsValidateFailedError with one sentence per
        failed service, which names the field to correct, and for invalid limits.
        """
        settings = Settings(credentials)
        probes = [gevent.spawn(_fault, backend, settings) for backend in _filled(settings)]
        faults = [*_unreadable(settings), *filter(None, (probe.get() for probe in probes))]
        if faults:
            raise CredentialsValidateFailedError("\n".join(faults))
        if not any(credentials.values()):
            credentials.update(_EMPTY_FORM)


def _unreadable(settings: Settings) -> Iterator[str]:
    """A sentence for each invalid setting of the plugin itself."""
    if settings.text("waiting", "direct") not in {"direct", "polling"}:
        yield say(f"Only direct and polling can be chosen in {settings.where('waiting')}.", settings)
    try:
        Limits.read(settings)
    except BadRequest as error:
        yield in_words(error, settings)
    yield from stages.check(settings)


def _filled(settings: Settings) -> list[type[Backend]]:
    """The configured services: a key, a login or a required field is set."""
    return [
        backend
        for backend in BACKENDS.values()
        if backend.prefix
        and any(
            settings.text(f"{backend.prefix}_{name}") for name in {*backend.required, "api_key", "username", "password"}
        )
    ]


def _fault(backend: type[Backend], settings: Settings) -> str:
    """The error of one service in a sentence; empty if there is none."""
    any_model = next((card.model for card in cards().values() if card.backend == backend.name), backend.title)
    try:
        with host_errors(settings.values):
            for sentence in pooled(backend.bind(any_model, settings)).probe():
                logger.info("%s: %s", backend.title, sentence)
    except InvokeError as error:
        return about(backend.title, str(error), settings)
    return ""
