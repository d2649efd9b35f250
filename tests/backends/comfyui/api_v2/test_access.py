"""Which addresses speak the Comfy API v2, the credential check, the form, and keys."""

import json

import pytest

from models.backends.base import Backend
from models.backends.comfyui import ComfyUI
from models.backends.comfyui.api_v2 import ComfyAPI
from models.backends.errors import AuthorizationFailed, BadRequest, ImageError
from models.settings import Access, Settings
from tests.asking import asked, bound
from tests.backends.comfyui.api_v2.conftest import KEY
from tests.backends.comfyui.api_v2.models import api_model, job_of, result_of
from tests.backends.comfyui.graphs import WORKFLOWS
from tests.backends.comfyui.jobs import TXT2IMG, HurriedClock, backend_for, invoked, slow
from tests.fakes import MARKER_KEY
from tests.servers.broken import broken_server
from tests.servers.comfy_api import FakeComfyAPI, failure
from tests.servers.comfyui import ComfyUIServer

ACCOUNT = "comfyui-account-0123456789"


@pytest.mark.parametrize(
    ("address", "base_url"),
    [
        ("https://cloud.comfy.org", "https://cloud.comfy.org/api/v2"),
        ("cloud.comfy.org/api", "https://cloud.comfy.org/api/v2"),
        ("https://dep-1234.run.comfy.app/", "https://dep-1234.run.comfy.app/api/v2"),
        ("https://dep-1234.stg.run.comfy.app/api/v2", "https://dep-1234.stg.run.comfy.app/api/v2"),
        ("http://127.0.0.1:8189/api/v2/", "http://127.0.0.1:8189/api/v2"),
        ("gpu:8189/comfy/api/v2", "http://gpu:8189/comfy/api/v2"),
    ],
)
def test_the_address_tells_the_api(address: str, base_url: str) -> None:
    assert api_model(address, TXT2IMG).service.base_url == base_url


@pytest.mark.parametrize(
    "address",
    ["gpu:8188", "https://gpu.example.com/api", "https://evil.example/cloud.comfy.org", "https://cloud.comfy.org.evil.example", "http://[gpu", ""],
)  # fmt: skip
def test_other_addresses_are_comfyui_servers(address: str) -> None:
    assert isinstance(backend_for(address, TXT2IMG), ComfyUI)


def test_a_predefined_model_runs_at_the_api(cloud: FakeComfyAPI) -> None:
    form = {"comfyui_base_url": f"{cloud.url}/api/v2", "comfyui_api_key": KEY}
    backend = bound("comfyui-sdxl", form, HurriedClock(20))
    assert isinstance(backend, ComfyAPI)
    assert backend.live_form(backend.within(3)) == backend.rules()
    cloud.engine.object_info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] = [
        ["sd_xl_base_1.0.safetensors"]
    ]
    result = backend.invoke(asked(backend, timeout=60.0, seed=4))
    assert [image.seed for image in result.images] == [4]


def test_access_is_checked_without_a_job(service: FakeComfyAPI) -> None:
    found = list(api_model(service, TXT2IMG).probe())
    assert found[-1].startswith("Comfy API v2 (beta)")
    assert '`prompt` goes to node 6 (CLIPTextEncode "Positive") `text`' in found  # fmt: skip
    assert [call.method for call in service.calls] == ["GET"]


def test_a_wrong_key_is_told(service: FakeComfyAPI) -> None:
    with pytest.raises(AuthorizationFailed, match=r"\(api_key\) in the model's settings"):
        list(api_model(service, TXT2IMG, api_key="comfyui-wrong").probe())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>a page for every path</html>"),
        (404, "404: Not Found"),
        (404, '{"detail": "Not Found"}'),
        (404, '{"error": {"message": "no such path", "type": "invalid_request_error", "code": null}}'),
        (405, ""),
    ],
)
def test_another_service_at_the_address_is_told(status: int, body: str) -> None:
    with broken_server() as server:
        server.says(status, body)
        with pytest.raises(BadRequest, match=r"No Comfy API v2 was found.*base_url"):
            list(api_model(f"{server.url}/api/v2", TXT2IMG).probe())


@pytest.mark.parametrize("code", ["not_found", "job_not_found", "invalid_request"])
def test_any_refusal_of_the_unknown_job_shows_that_the_key_was_taken(cloud: FakeComfyAPI, code: str) -> None:
    cloud.looks.append(failure(400 if code == "invalid_request" else 404, code, "x"))
    assert list(api_model(cloud, TXT2IMG).probe())


def test_a_comfyui_that_is_a_proxy_is_told_how_it_is_reached(proxy: FakeComfyAPI) -> None:
    with pytest.raises(BadRequest, match="the address of a comfy-api-proxy ends with /api/v2"):
        list(backend_for(proxy.url, TXT2IMG, api_key=KEY).probe())


def test_the_editors_format_is_refused_with_the_way_out(cloud: FakeComfyAPI) -> None:
    saved = json.loads((WORKFLOWS / "ui" / "node_titles.ui.json").read_text("utf-8"))
    with pytest.raises(BadRequest, match=r"editor's format.*Export \(API\)"):
        list(api_model(cloud, saved).probe())


def test_a_workflow_without_an_output_is_refused(cloud: FakeComfyAPI) -> None:
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}}
    with pytest.raises(BadRequest, match="no image output"):
        list(api_model(cloud, graph).probe())


def test_the_form_comes_from_the_workflow(cloud: FakeComfyAPI) -> None:
    backend = api_model(cloud, TXT2IMG)
    rules = {rule.name: rule for rule in backend.live_form(backend.within(3))}
    assert rules["steps"].default == 4
    assert rules["checkpoint"].default == "tiny-random-sd15.safetensors"
    assert not cloud.calls


def test_one_of_several_deployments_takes_the_job(cloud: FakeComfyAPI) -> None:
    """The first does not answer."""
    with broken_server() as gone:
        unreachable = gone.url
    form = {
        "backend": "comfyui",
        "base_url": f"{unreachable}/api/v2, {cloud.url}/api/v2",
        "api_key": KEY,
        "workflow": json.dumps(slow()),
    }
    backend: Backend = bound("my-workflow", form, HurriedClock(20))
    assert backend.invoke(asked(backend, timeout=60.0)).images
    assert cloud.graphs


# Keys


def test_the_account_key_pays_for_partner_nodes(service: FakeComfyAPI) -> None:
    backend = api_model(service, TXT2IMG, comfy_account_api_key=ACCOUNT)
    job = job_of(backend)
    assert service.sent("POST", "jobs")[0].body["extra_data"] == {"api_key_comfy_org": ACCOUNT}
    assert ACCOUNT not in json.dumps(job)


def test_the_account_key_goes_to_a_comfyui_server_too(server: ComfyUIServer) -> None:
    invoked(backend_for(server, TXT2IMG, comfy_account_api_key=ACCOUNT))
    (entry,) = server.engine.history.values()
    assert entry["prompt"][3]["api_key_comfy_org"] == ACCOUNT


def test_a_refusal_does_not_quote_the_account_key(cloud: FakeComfyAPI) -> None:
    cloud.refusals.append(failure(422, "invalid_workflow", f"the key {ACCOUNT} is not allowed"))
    with pytest.raises(ImageError) as caught:
        result_of(api_model(cloud, TXT2IMG, comfy_account_api_key=ACCOUNT))
    assert ACCOUNT not in str(caught.value)


def test_keys_in_a_workflow_are_neither_stored_nor_quoted(cloud: FakeComfyAPI) -> None:
    graph = slow()
    graph["2"]["inputs"]["api_key"] = MARKER_KEY
    backend = api_model(cloud, graph)
    job = job_of(backend)
    assert cloud.graphs[0]["2"]["inputs"]["api_key"] == MARKER_KEY
    assert MARKER_KEY not in json.dumps(job)
    error = {
        "code": "node_execution_error",
        "message": f"{MARKER_KEY} was refused",
        "node_id": "2",
        "class_type": "DevSleep",
    }
    cloud.looks.append((200, {"id": "1", "status": "failed", "error": error}))
    with pytest.raises(ImageError) as caught:
        api_model(cloud, graph).check(job)
    assert MARKER_KEY not in str(caught.value)


def test_a_partner_node_without_an_account_says_where_the_key_belongs(cloud: FakeComfyAPI) -> None:
    backend = api_model(cloud, slow())
    job = job_of(backend)
    error = {"code": "node_execution_error", "message": "Unauthorized: Please login first to use this node."}
    cloud.looks.append((200, {"id": "1", "status": "failed", "error": error}))
    with pytest.raises(BadRequest, match=r"“Comfy account API key” \(comfy_account_api_key\) in the model's settings"):
        backend.check(job)


def test_the_environment_holds_the_account_key_of_the_instance() -> None:
    environment = {"IMAGE_GENERATION_COMFY_ACCOUNT_API_KEY": ACCOUNT}
    settings = Settings({"backend": "comfyui"}, environment)
    assert Access.read(settings, "comfyui").comfy_account_api_key == ACCOUNT
    assert ACCOUNT in settings.secrets
    own = Settings({"backend": "comfyui", "comfy_account_api_key": "own-key"}, environment)
    assert Access.read(own, "comfyui").comfy_account_api_key == "own-key"
