"""Equal requests to several plugin processes reach the service once."""

import threading
from collections.abc import Iterator, Mapping

import pytest
from pydantic import JsonValue

from sandbox import Host
from sandbox.errors import PluginError
from sandbox.host import InvokeReply
from sandbox.protocol import user
from tests.conftest import ROOT
from tests.fakes import MARKER_KEY
from tests.servers.redis_server import redis_server
from tests.servers.stability import FakeStability

MODEL, FOX = "sd3.5-medium", [user("a fox")]
REQUESTS = 40

type Form = Mapping[str, JsonValue]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    environment = {"IMAGE_GENERATION_STATE_DIR": str(tmp_path_factory.mktemp("state"))}
    with Host(plugin_dir=ROOT, processes=2, environment=environment) as host:
        yield host


@pytest.fixture
def fake() -> Iterator[FakeStability]:
    with FakeStability(key=MARKER_KEY, delay=1.0) as server:
        yield server


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def form_of(fake: FakeStability, **more: str) -> Form:
    return {"stability_api_key": MARKER_KEY, "stability_base_url": fake.url, **more}


def invoked_at_once(host: Host, form: Form, times: int) -> list[InvokeReply]:
    replies: list[InvokeReply] = []
    start = threading.Barrier(times)

    def ask() -> None:
        start.wait()
        replies.append(host.invoke(MODEL, form, FOX, {"cache": "exact"}))

    threads = [threading.Thread(target=ask) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


@pytest.mark.parametrize("shared", ["file", "redis"])
def test_equal_requests_of_several_processes_reach_the_service_once(
    host: Host, fake: FakeStability, redis_url: str, shared: str
) -> None:
    form = form_of(fake, **({"redis_url": redis_url} if shared == "redis" else {}))
    replies = invoked_at_once(host, form, REQUESTS)
    assert len(replies) == REQUESTS
    assert fake.answered == 1
    assert len({reply.images[0].data for reply in replies}) == 1
    prices = sorted(reply.usage.total_price for reply in replies if reply.usage)
    assert prices[-1] > 0
    assert not any(prices[:-1])


def test_saving_the_form_asks_the_embeddings_endpoint(host: Host) -> None:
    with pytest.raises(PluginError, match=r"\(embedding_url\)") as refused:
        host.validate_provider_credentials({"embedding_url": f"http://{MARKER_KEY}@127.0.0.1:1/v1?model=x"})
    assert MARKER_KEY not in refused.value.message
