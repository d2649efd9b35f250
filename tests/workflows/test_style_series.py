"""Several scenes with one reference image and one seed, with a fake of Black Forest Labs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import WorkflowRun, run_workflow
from tests.fakes import MARKER_KEY, image_file
from tests.servers.black_forest_labs import FakeFlux, black_forest_labs

APP = Path(__file__).parents[2] / "workflows" / "style_series.yml"


@pytest.fixture
def server() -> Iterator[FakeFlux]:
    with black_forest_labs(key=MARKER_KEY) as fake:
        yield fake


@pytest.fixture(params=["direct", "polling"])
def services(services: Services, server: FakeFlux, request: pytest.FixtureRequest) -> Services:
    form = {"bfl_api_key": MARKER_KEY, "bfl_base_url": server.url, "waiting": request.param}
    return replace(services, credentials=Credentials(form))


def series(services: Services, folder: Path, scenes: str) -> WorkflowRun:
    reference = folder / "reference.png"
    reference.write_bytes(image_file(320, 240))
    given = {"reference": reference, "scenes": scenes, "style": "ink", "seed": 7, "aspect_ratio": "4:3"}
    return run_workflow(APP, given, services)


def test_every_scene_has_the_same_reference_seed_and_style(
    services: Services, server: FakeFlux, tmp_path: Path
) -> None:
    run = series(services, tmp_path, "asleep\n\n  awake \n放风筝\n")
    assert (run.status, run.error) == ("succeeded", "")
    bodies = [body for path, body in server.asked if path == "/v1/flux-2-pro"]
    assert sorted(body["prompt"].partition(".")[0] for body in bodies) == ["asleep", "awake", "放风筝"]
    assert {body["seed"] for body in bodies} == {7}
    assert all("Style: ink." in body["prompt"] for body in bodies)
    assert len({body["input_image"] for body in bodies}) == 1
    assert len(run.outputs["image_urls"]) == 3


def test_the_gallery_ends_in_a_contact_sheet(services: Services, tmp_path: Path) -> None:
    run = series(services, tmp_path, "asleep\nawake")
    *scenes, sheet = run.files
    assert len(scenes) == 2
    link = str(run.outputs["sheet"]).partition("](")[2].partition(")")[0]
    assert services.store.path_of_link(link) == sheet
    assert Image.open(sheet).format == "JPEG"
    assert [line for line in run.outputs["gallery"].splitlines() if line in {"asleep", "awake"}] == ["asleep", "awake"]


def test_a_scene_that_fails_leaves_the_others(services: Services, server: FakeFlux, tmp_path: Path) -> None:
    server.faults.append((422, {"detail": "no"}))
    run = series(services, tmp_path, "asleep\nawake")
    assert run.status in {"succeeded", "partial-succeeded"}
    assert len(run.outputs["image_urls"]) == 1
    assert ": no image" in run.outputs["gallery"]


def test_too_many_scenes_are_refused_before_anything_is_paid(
    services: Services, server: FakeFlux, tmp_path: Path
) -> None:
    run = series(services, tmp_path, "scene\n" * 21)
    assert run.status == "failed"
    assert "There are 21 scenes; this app takes at most 20 at a time." in run.error
    assert server.asked == []
