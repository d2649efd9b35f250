"""The credential check: its messages must fit a form, not a job."""

from collections.abc import Sequence

import pytest

from models.backends.errors import ConnectionFailed
from models.backends.http import timed_out
from tests.fakes import FakeClock
from tests.stubs import StubBackend


class Silent(StubBackend):
    """A service that accepts the connection and sends nothing."""

    def check_access(self) -> Sequence[str]:
        raise timed_out("Checking Stub")


def test_an_unresponsive_service_names_its_address_field(clock: FakeClock) -> None:
    with pytest.raises(ConnectionFailed) as failure:
        list(Silent(clock).probe())
    assert str(failure.value) == (
        "Checking Stub failed: it did not reply within 9 seconds. "
        "Check that it is running at the address in the environment variable IMAGE_GENERATION_STUB_BASE_URL, and try again."
    )


class Explaining(Silent):
    """A service with findings in its form that need no request."""

    def findings(self) -> Sequence[str]:
        return ("the workflow takes a prompt",)


def test_findings_in_a_form_are_reported_before_the_request(clock: FakeClock) -> None:
    told = Explaining(clock).probe()
    assert next(told) == "the workflow takes a prompt"
    with pytest.raises(ConnectionFailed):
        next(told)
