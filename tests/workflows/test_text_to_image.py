from pathlib import Path

import pytest
from PIL import Image

from sandbox.inputs import InputError
from sandbox.node_factory import Services
from sandbox.workflow import run_workflow

APP = Path(__file__).parents[2] / "workflows" / "text_to_image.yml"


@pytest.mark.parametrize(("ratio", "wanted"), [("16:9", 16 / 9), ("3:4", 3 / 4)])
def test_a_prompt_becomes_a_stored_image_of_the_selected_ratio(services: Services, ratio: str, wanted: float) -> None:
    run = run_workflow(APP, {"prompt": "a lighthouse at dusk", "aspect_ratio": ratio}, services)
    assert (run.status, run.error) == ("succeeded", "")
    (path,) = run.files
    with Image.open(path) as image:
        assert image.width / image.height == pytest.approx(wanted, rel=0.05)
    assert str(run.outputs["image"]).startswith(f"![]({run.outputs['image_url']})\n\nSeed ")
    assert services.store.path_of_link(run.outputs["image_url"]) == path


def test_the_ratio_is_optional(services: Services) -> None:
    run = run_workflow(APP, {"prompt": "a lighthouse"}, services)
    with Image.open(run.files[0]) as image:
        assert image.width == image.height


@pytest.mark.parametrize("chosen", [{}, {"aspect_ratio": "1:1"}])
def test_a_ratio_directive_overrides_the_selected_ratio(services: Services, chosen: dict[str, str]) -> None:
    run = run_workflow(APP, {"prompt": "fox --ar 9:16", **chosen}, services)
    with Image.open(run.files[0]) as image:
        assert image.width / image.height == pytest.approx(9 / 16, rel=0.05)


def test_the_same_prompt_and_seed_give_the_same_image(services: Services) -> None:
    first, second = (run_workflow(APP, {"prompt": "a lighthouse --seed 7"}, services).files[0] for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_the_prompt_is_required(services: Services) -> None:
    with pytest.raises(InputError, match="prompt is required"):
        run_workflow(APP, {"aspect_ratio": "1:1"}, services)
