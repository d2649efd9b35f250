"""Quotas over several plugin processes: never exceeded by one image, and never forgotten by a killed process."""

import threading
from collections.abc import Iterator, Mapping

import pytest
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.protocol import user
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY
from tests.servers.redis_server import redis_server

PROCESSES, REQUESTS = 4, 200

type Form = Mapping[str, JsonValue]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {"IMAGE_GENERATION_STATE_DIR": str(tmp_path_factory.mktemp("state"))}


@pytest.fixture(scope="module")
def host(environment: dict[str, str]) -> Iterator[Host]:
    with Host(plugin_dir=ROOT, processes=PROCESSES, environment=environment) as host:
        yield host


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server(password=MARKER_KEY) as url:
        yield url


@pytest.fixture(params=["file", "redis"])
def form(request: pytest.FixtureRequest) -> Form:
    """The form that says where the processes count."""
    return {} if request.param == "file" else {"redis_url": request.getfixturevalue("redis_url")}


def made(host: Host, form: Form, limits: str, n: int = 1) -> int:
    """The number of images of one request; 0 if it was refused for the quota."""
    parameters: Form = {"width": 16, "height": 16, "n": n}
    try:
        reply = host.invoke("preview", {"limits": limits, **form}, [user("a fox")], parameters)
    except PluginError as error:
        if error.error_type == "InvokeRateLimitError" and "does not allow this request" in error.message:
            return 0
        raise
    return len(reply.images)


def test_concurrent_requests_of_four_processes_never_exceed_a_quota(host: Host, form: Form) -> None:
    counts: list[int] = []
    start = threading.Barrier(REQUESTS)

    def ask(n: int) -> None:
        start.wait()
        counts.append(made(host, form, "user 150/day, 151/month, account concurrent", n))

    threads = [threading.Thread(target=ask, args=(1 + number % 2,)) for number in range(REQUESTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == REQUESTS
    assert sum(counts) == 150
    assert made(host, form, "user 150/day, account concurrent") == 0


def test_a_killed_process_loses_no_settled_count(host: Host, form: Form, environment: dict[str, str]) -> None:
    with Host(plugin_dir=ROOT, environment=environment) as other:
        assert made(other, form, "10/day, account killed", n=6) == 6
        other.process(0).kill()
    assert made(host, form, "10/day, account killed", n=5) == 0
    assert made(host, form, "10/day, account killed", n=4) == 4


def test_saving_the_form_tries_the_counters(host: Host, form: Form) -> None:
    host.validate_provider_credentials({"limits": "10/day", **form})
    nowhere: Form = {"limits": "10/day", "redis_url": f"redis://:{MARKER_KEY}@127.0.0.1:1/0"}
    with pytest.raises(PluginError, match=r"“Redis URL” \(redis_url\)") as refused:
        host.validate_provider_credentials(nowhere)
    assert MARKER_KEY not in refused.value.message


def test_no_key_is_seen_in_the_log(host: Host) -> None:
    assert MARKER_KEY not in str([host.process(number).log_messages for number in range(PROCESSES)])
