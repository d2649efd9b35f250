"""The provider: its credential check, and the parameter rules of image generation as data."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gevent
from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeError
from dify_plugin.interfaces import model as host

from models.backends.base import Backend
from models.backends.errors import BadRequest
from models.backends.registry import BACKENDS
from models.catalog import cards
from models.host_errors import host_errors, logger
from models.parameters import PROMPT_RULE, VOCABULARY, Rule
from models.limits import Limits
from models.settings import Settings


class ImageGenerationProvider(host.ModelProvider):
    """All services behind one credential form."""

    IMAGE_GENERATION: ClassVar[tuple[Rule, ...]] = (PROMPT_RULE, *VOCABULARY)
    """The rules of the common parameters, `prompt` included; the model cards narrow them."""

    def validate_provider_credentials(self, credentials: dict[str, Any]) -> None:
        """Probe every service whose fields are filled, at the same time, without generating or spending anything.

        An empty form is fine: it unlocks the preview model. Raises CredentialsValidateFailedError with one sentence per
        service that failed, naming the field to mend, and for editing rules that cannot be read.
        """
        try:
            Limits.read(Settings(credentials))
        except BadRequest as error:
            raise CredentialsValidateFailedError(str(error)) from None
        probes = [gevent.spawn(_fault, backend, credentials) for backend in _filled(credentials)]
        gevent.joinall(probes)
        faults = [probe.get() for probe in probes]
        if told := [fault for fault in faults if fault]:
            raise CredentialsValidateFailedError("\n".join(told))


def _filled(credentials: Mapping[str, Any]) -> list[type[Backend]]:
    """The services that somebody means to use: a key, a login or a required field is given."""
    return [
        backend
        for backend in BACKENDS.values()
        if backend.prefix
        and any(
            str(credentials.get(f"{backend.prefix}_{name}") or "").strip()
            for name in {*backend.required, "api_key", "username", "password"}
        )
    ]


def _fault(backend: type[Backend], credentials: Mapping[str, Any]) -> str:
    any_model = next((card.model for card in cards().values() if card.backend == backend.name), backend.title)
    try:
        with host_errors(credentials):
            bound = backend.bind(any_model, Settings(credentials))
            for sentence in bound.probe():
                logger.info("%s: %s", backend.title, sentence)
    except InvokeError as error:
        return f"{backend.title[:1].upper()}{backend.title[1:]}: {error}"
    return ""
