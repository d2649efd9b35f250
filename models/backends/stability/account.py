"""The account at Stability AI: its address, headers, calls and the check of its key; shared by all of its models.

Source: Stability REST API, v1 user/balance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, override

from pydantic import BaseModel

from models.backends.base import PROBE_SECONDS, Backend
from models.backends.errors import BadRequest, ConnectionFailed, RateLimited, ServerUnavailable
from models.backends.http import CLIENT_NAME
from models.backends.refusals import RefusalTable
from models.backends.reply import Reply, parse
from models.backends.stability.models import BASE_URL, LOW_BALANCE, READ_TIMEOUT, RETRIES
from models.backends.stability.wire import ATTEMPT, StabilityCall
from models.catalog import cards
from models.clock import Deadline
from models.parameters import Rule, load_rules
from models.version import VERSION


class Balance(BaseModel):
    credits: float


class StabilityAccount(Backend):
    name: ClassVar[str] = "stability"
    title: ClassVar[str] = "Stability AI"
    prefix: ClassVar[str] = "stability"
    required: ClassVar[tuple[str, ...]] = ("api_key",)
    home: ClassVar[str] = BASE_URL
    refusals: ClassVar[RefusalTable] = RefusalTable.beside(__file__)
    extra_rules: ClassVar[tuple[Rule, ...]] = load_rules(Path(__file__).with_name("parameters.yaml"))

    @override
    def headers(self) -> Mapping[str, str]:
        return {
            "Accept": "application/json",
            "stability-client-id": CLIENT_NAME,
            "stability-client-version": VERSION,
        }

    @override
    def check_access(self) -> Sequence[str]:
        if self.model.card is None:
            raise self.unknown_model()
        attempt = "Checking the Stability AI key"
        try:
            deadline = self.within(PROBE_SECONDS)
            reply = self.service.request("GET", "/v1/user/balance", attempt=attempt, deadline=deadline)
            credits_left = parse(reply, Balance, attempt=attempt).credits
        except (RateLimited, ServerUnavailable, ConnectionFailed) as error:
            attempt = "The Stability AI key could not be checked"
            step = f"The key may be valid. {error.next_step}"
            raise type(error)(attempt, error.said, step, transient=error.transient) from None
        except BadRequest as error:
            field = self.model.access.where("base_url")
            raise BadRequest(error.attempted, error.said, f"Check {field}, or empty it to use {BASE_URL}") from None
        low = f"Stability AI: {credits_left:.4g} credits are left, less than one image of stable-image-core costs."
        return [low] if credits_left < LOW_BALANCE else []

    def unknown_model(self) -> BadRequest:
        """The refusal of a model that the service does not have."""
        known = [card.model for card in cards().values() if card.backend == self.name]
        return BadRequest(
            f"{self.title} has no model {self.model.remote!r}",
            next_step=f"Set {self.model.access.where('remote_model')} to one of {', '.join(known)}",
        )

    def post(self, call: StabilityCall, deadline: Deadline) -> Reply:
        """Send one call of a model. Raises ImageError."""
        return self.service.request(
            "POST",
            call.path,
            attempt=ATTEMPT,
            deadline=deadline,
            json=call.json,
            form=call.form,
            read_timeout=READ_TIMEOUT,
            retries=RETRIES,
        )
