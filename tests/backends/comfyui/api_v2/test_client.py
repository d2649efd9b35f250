"""What the replies of the Comfy API v2 mean, one value at a time."""

import pytest
import responses
from pydantic import JsonValue

from models.backends.comfyui.api_v2.client import ApiProgress
from models.clock import Deadline
from tests.backends.comfyui.api_v2.models import api_model
from tests.backends.comfyui.jobs import TXT2IMG
from tests.fakes import FakeClock


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({}, "running"),
        ({"step": 0, "steps": 0, "nodes_done": 0, "nodes_total": 0}, "running"),
        ({"step": 3.0, "steps": 20.0}, "step 3/20"),
        ({"steps": 20}, "step 0/20"),
        ({"step": 1, "steps": 1, "current_node_class": "VAEDecode"}, "running VAEDecode"),
        ({"nodes_done": 2, "nodes_total": 7}, "2 of 7 nodes finished"),
        ({"nodes_total": 7}, "0 of 7 nodes finished"),
    ],
)
def test_progress_is_told_in_steps_else_by_the_node_else_by_the_count(
    progress: dict[str, JsonValue], words: str
) -> None:
    assert ApiProgress.model_validate(progress).words == words


@responses.activate
@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("/api/v2/jobs/7/stop?now=1", "https://api.test/api/v2/jobs/7/stop?now=1"),
        ("/elsewhere", "https://api.test/elsewhere"),
        ("https://api.test/api/v2/jobs/7/stop", "https://api.test/api/v2/jobs/7/stop"),
        ("//evil.example/jobs/7", "https://api.test/api/v2/jobs/7/cancel"),
        ("https://evil.example/api/v2/jobs/7", "https://api.test/api/v2/jobs/7/cancel"),
        ("https://api.test/api/v2.evil/7", "https://api.test/api/v2/jobs/7/cancel"),
        ("", "https://api.test/api/v2/jobs/7/cancel"),
    ],
)
def test_a_link_is_followed_at_the_forms_own_origin_only(link: str, asked: str) -> None:
    responses.post(asked, json={})
    clock = FakeClock()
    client = api_model("https://api.test/api/v2", TXT2IMG, clock).client
    client.cancel("7", link, deadline=Deadline.after(clock, 60))
    assert [call.request.url for call in responses.calls] == [asked]
