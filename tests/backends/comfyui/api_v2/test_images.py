"""Input images as assets, and the files of a job: which are delivered, and how they are fetched."""

import io

import pytest
from PIL import Image

from models.backends.errors import ServerUnavailable
from models.entities import InputImage
from tests.backends.comfyui.api_v2.models import api_model, job_of, result_of, watched
from tests.backends.comfyui.jobs import TXT2IMG, Graph, slow
from tests.fakes import image_file
from tests.servers.comfy_api import FakeComfyAPI

PHOTO = InputImage(image_file(colour=(10, 20, 30)), "image/png", "../me.png")
MASK = InputImage(image_file(colour=(255, 255, 255)), "image/png", "mask.png")


def edit(service: FakeComfyAPI) -> Graph:
    required = {"mask": ["MASK"]}
    service.engine.object_info["MaskToImage"] = {"input": {"required": required}, "output": ["IMAGE"]}
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
        "2": {"class_type": "LoadImageMask", "inputs": {"image": "mask.png", "channel": "alpha"}},
        "3": {"class_type": "MaskToImage", "inputs": {"mask": ["2", 0]}},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "b"}},
    }


def is_asset(value: object) -> bool:
    return isinstance(value, dict) and value["__type"] == "core/ASSET" and set(value["info"]) == {"id"}


def test_input_images_and_masks_are_assets_in_the_graph(service: FakeComfyAPI) -> None:
    result_of(api_model(service, edit(service)), images=(PHOTO,), mask=MASK)
    (graph,) = service.graphs
    assert is_asset(graph["1"]["inputs"]["image"])
    assert is_asset(graph["2"]["inputs"]["image"])
    assert graph["2"]["inputs"]["channel"] == "red"
    uploads = service.sent("POST", "assets")
    assert [call.form["content_type"] for call in uploads] == ["image/png", "image/png"]
    assert uploads[0].form["file"] == PHOTO.data
    assert all(str(call.form["file_path"]).startswith("input/dify/") for call in uploads)
    assert "me.png" not in str(uploads[0].form["file_path"])


def test_an_image_written_into_the_workflow_is_replaced_by_an_asset(service: FakeComfyAPI) -> None:
    graph = slow()
    graph["1"] = {"class_type": "ETN_LoadImageBase64", "inputs": {"image": "aGVsbG8="}}
    result_of(api_model(service, graph), images=(PHOTO,))
    node = service.graphs[0]["1"]
    assert node["class_type"] == "LoadImage"
    assert is_asset(node["inputs"]["image"])


def test_the_transparent_part_of_an_image_is_its_mask(service: FakeComfyAPI) -> None:
    graph = edit(service)
    cut_out = InputImage(image_file(64, 64, mode="RGBA", colour=(0, 0, 0, 0)), "image/png", "fox.png")
    result_of(api_model(service, graph), images=(cut_out,))
    masked = service.graphs[0]["2"]["inputs"]
    assert is_asset(masked["image"])
    assert masked["channel"] == "alpha"


def test_saved_images_take_precedence_over_previews(service: FakeComfyAPI) -> None:
    graph = slow(prefix="kept")
    graph["0"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    assert len(result_of(api_model(service, graph)).images) == 1
    del graph["3"]
    graph["0"]["inputs"]["images"] = ["2", 0]
    assert len(result_of(api_model(service, graph)).images) == 1  # nothing was saved, so the preview is the result


def test_images_come_in_the_order_of_the_graph(service: FakeComfyAPI) -> None:
    graph: Graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 10, "height": 10, "batch_size": 1, "color": 1}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 20, "height": 20, "batch_size": 1, "color": 1}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "b"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}},
    }
    assert [image.size for image in result_of(api_model(service, graph)).images] == [(20, 20), (10, 10)]


@pytest.mark.parametrize("kind", ["SaveVideo", "VHS_VideoCombine"])
def test_videos_are_delivered(service: FakeComfyAPI, kind: str) -> None:
    service.engine.object_info[kind] = service.engine.object_info["SaveImage"]
    graph = slow()
    graph["3"] = {"class_type": kind, "inputs": {"images": ["2", 0], "filename_prefix": "clip"}}
    assert [video.mime_type for video in result_of(api_model(service, graph)).images] == ["video/mp4"]


def test_a_job_without_an_image_is_an_error(service: FakeComfyAPI) -> None:
    backend = api_model(service, slow())
    job = job_of(backend)
    outputs = [
        {"node_id": "3", "name": "song.flac", "type": "audio", "content_type": "audio/flac", "id": "a", "url": "x"}
    ]
    service.looks.append((200, {"id": "1", "status": "succeeded", "outputs": outputs}))
    with pytest.raises(ServerUnavailable, match=r"sound files.*song\.flac"):
        backend.check(job)


# Fetching


def test_signed_links_get_no_key(cloud: FakeComfyAPI) -> None:
    assert result_of(api_model(cloud, TXT2IMG)).images
    assert cloud.host.keys == []
    assert not any(call.path.endswith("/content") for call in cloud.calls), "a link that works needs no asset"


def test_an_asset_that_redirects_gets_no_key_on_the_other_host(cloud: FakeComfyAPI) -> None:
    """Content addresses stand among the outputs, and redirect to the signed link."""
    backend = api_model(cloud, TXT2IMG)
    job = job_of(backend)
    cloud.signs = False
    result = watched(backend, job)
    assert getattr(result, "images", ())
    assert any(call.path.endswith("/content") for call in cloud.calls)
    assert cloud.host.keys == []


def test_an_expired_link_is_replaced_by_the_assets(cloud: FakeComfyAPI) -> None:
    backend = api_model(cloud, TXT2IMG)
    job = job_of(backend)
    cloud.expired = True
    result = watched(backend, job)
    assert getattr(result, "images", ())
    assert any(call.path.endswith("/content") for call in cloud.calls)
    assert cloud.host.keys == []


def test_a_file_that_is_gone_is_told(proxy: FakeComfyAPI) -> None:
    backend = api_model(proxy, slow())
    job = job_of(backend)
    proxy.forgets_files = True
    with pytest.raises(ServerUnavailable, match="The file is gone"):
        watched(backend, job)


def test_the_pixels_are_those_of_the_server(service: FakeComfyAPI) -> None:
    service.engine.draw = lambda width, height, _: image_file(width, height, colour=(1, 2, 3))
    (image,) = result_of(api_model(service, TXT2IMG)).images
    with Image.open(io.BytesIO(image.data)) as opened:
        assert opened.convert("RGB").getpixel((5, 5)) == (1, 2, 3)
