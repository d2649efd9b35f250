"""The two WebUI apps on Dify's engine, with the plugin process for their image nodes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sandbox.credentials import Credentials
from sandbox.node_factory import Services
from sandbox.workflow import WorkflowRun, run_workflow
from tests.servers.automatic1111 import FakeWebUI, read_image

WORKFLOWS = Path(__file__).parents[2] / "workflows"
PROMPT = "an orange cat on wet stone steps, old water town after rain, soft light, film photograph"
PRODUCTS = """name, selling points, scene
桂花乌龙茶, "手工采摘, 无添加", 秋日庭院
Trail bottle, keeps cold for 24 h, a mountain trail

Rug, , a sunny loft"""


@pytest.fixture
def webui() -> Iterator[FakeWebUI]:
    with FakeWebUI().run() as fake:
        yield fake


@pytest.fixture
def services(services: Services, webui: FakeWebUI) -> Services:
    return replace(services, credentials=Credentials({"automatic1111_base_url": webui.url}))


def test_a_chinese_idea_becomes_an_english_prompt_and_an_image(services: Services, webui: FakeWebUI) -> None:
    written = replace(services, script={"writer": PROMPT})
    run = run_workflow(
        WORKFLOWS / "sd_webui_prompt_llm.yml",
        {"wish": "雨后的江南小巷，一只橘猫坐在石阶上", "size": "512x768"},
        written,
    )
    assert (run.status, run.error) == ("succeeded", "")
    assert run.outputs["prompt"] == PROMPT
    assert services.store.path_of_link(str(run.outputs["image_url"])) == run.files[0]
    assert Image.open(run.files[0]).size == (512, 768)
    assert read_image(run.files[0].read_bytes())[2] == PROMPT
    (body,) = webui.bodies("/sdapi/v1/txt2img")
    assert (body["sampler_name"], body["scheduler"], body["steps"], body["cfg_scale"]) == ("DPM++ 2M", "Karras", 25, 7)
    assert "watermark" in body["negative_prompt"]


def test_a_csv_of_products_becomes_posters_with_captions(services: Services, webui: FakeWebUI) -> None:
    run = posters(services)
    assert (run.status, run.error) == ("succeeded", "")
    assert captions(run) == [
        "桂花乌龙茶 · 手工采摘, 无添加",
        "Trail bottle · keeps cold for 24 h",
        "Rug · a sunny loft",
    ]
    files = [services.store.path_of_link(address) for address in run.outputs["image_urls"]]
    (sheet,) = set(run.files) - set(files)
    link = str(run.outputs["sheet"]).removeprefix("![](").removesuffix(")")
    assert services.store.path_of_link(link) == sheet
    assert Image.open(sheet).width > 3 * 384  # three posters beside each other, each fetched by its link
    # The local language model repeats its input: product, scene and style reach the prompt.
    prompts = [read_image(Path(str(file)).read_bytes())[2] for file in files]
    assert [prompt.split("\n")[0] for prompt in prompts] == ["桂花乌龙茶", "Trail bottle", "Rug"]
    assert all("Look of the whole series: ink wash" in prompt for prompt in prompts)
    assert f"![Rug · a sunny loft]({run.outputs['image_urls'][2]})\n\nRug · a sunny loft" in run.outputs["gallery"]


def test_a_failed_product_is_named_and_the_others_have_images(services: Services, webui: FakeWebUI) -> None:
    webui.refused_prompts = ("Trail bottle",)
    run = posters(services)
    assert captions(run) == ["桂花乌龙茶 · 手工采摘, 无添加", "Trail bottle: no image", "Rug · a sunny loft"]
    assert (len(run.files), len(run.outputs["image_urls"])) == (3, 2)  # two posters and the sheet


def test_a_run_with_only_failed_posters_fails(services: Services, webui: FakeWebUI) -> None:
    webui.refused_prompts = ("桂花乌龙茶", "Trail bottle", "Rug")
    run = posters(services)
    assert (run.status, run.error) == ("failed", "No poster could be made. The node Poster of each round says why.")
    assert run.files == ()


@pytest.mark.parametrize("separator", [",", ";", "\t", "，"])
def test_columns_may_be_separated_as_in_spreadsheets(services: Services, separator: str) -> None:
    products = f"name{separator}points\nRug{separator}soft"
    run = posters(services, products)
    assert captions(run) == ["Rug · soft"]


@pytest.mark.parametrize(
    ("products", "sentence"),
    [
        ("name, points", "The CSV text needs a line of column names and at least one product."),
        ("a red fox", "The CSV text needs a line of column names and at least one product."),
        (
            'name,points\nRug,"soft\nLamp,bright',
            "Line 3 of the CSV text cannot be read: unexpected end of data. Check its quotation marks.",
        ),
        ("name,points\nRug,soft\n,bright", "Product 2 of the CSV text has no name: its first column is empty."),
        (
            "name\n" + "Rug\n" * 31,
            "The CSV text has 31 products; Dify takes at most 30 at a time. Send the others later.",
        ),
    ],
)
def test_an_invalid_csv_ends_the_run_with_a_message(
    services: Services, webui: FakeWebUI, products: str, sentence: str
) -> None:
    run = posters(services, products)
    assert (run.status, run.error) == ("failed", sentence)
    assert webui.bodies("/sdapi/v1/txt2img") == []


def captions(run: WorkflowRun) -> list[str]:
    return [entry for entry in str(run.outputs["gallery"]).split("\n\n") if not entry.startswith("![")]


def posters(services: Services, products: str = PRODUCTS) -> WorkflowRun:
    given = {"products": products, "look": "ink wash", "size": "512x512"}
    return run_workflow(WORKFLOWS / "ecommerce_posters.yml", given, services)
