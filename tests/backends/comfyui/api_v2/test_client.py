"""What the replies of the Comfy API v2 mean, one value at a time."""

import pytest
from pydantic import JsonValue

from models.backends.comfyui.api_v2.client import ApiProgress


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
