"""Output files of a job, the removal of the workflow from images, and the classification of run errors."""

import io
import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import JsonValue

from models.backends.comfyui.client import FileRef, RunStatus
from models.backends.comfyui.graph import folder_of, package_of
from models.backends.comfyui.results import (
    DeletedFileError,
    OutputFiles,
    black_images,
    failed_run,
    read_outputs,
    without_workflow,
)
from models.backends.errors import BadRequest
from models.entities import GeneratedImage
from tests.backends.comfyui.jobs import TXT2IMG
from tests.fakes import image_file, noise


def test_a_png_loses_its_workflow_and_nothing_else() -> None:
    texts = PngInfo()
    texts.add_text("prompt", json.dumps(TXT2IMG))
    texts.add_itxt("workflow", "秘密")
    texts.add_text("Author", "me")
    out = io.BytesIO()
    Image.new("RGBA", (30, 20), (1, 2, 3, 4)).save(out, "PNG", pnginfo=texts)
    with Image.open(io.BytesIO(without_workflow(out.getvalue()))) as image:
        image.load()
        assert image.info == {"Author": "me"}
        assert image.getpixel((0, 0)) == (1, 2, 3, 4)


@pytest.mark.parametrize("animated", [False, True])
def test_a_webp_loses_its_workflow_and_stays_readable(animated: bool) -> None:
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(TXT2IMG)
    out = io.BytesIO()
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    more = {"save_all": True, "append_images": frames[1:]} if animated else {}
    frames[0].save(out, "WEBP", exif=exif, **more)
    bare = without_workflow(out.getvalue())
    assert b"KSampler" in out.getvalue()
    assert b"KSampler" not in bare
    with Image.open(io.BytesIO(bare)) as image:
        assert (image.size, getattr(image, "n_frames", 1)) == ((30, 20), 1 + animated)
        image.load()


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", image_file()[:40], b"RIFF1234WEBP", image_file(kind="JPEG")]
)
def test_a_broken_file_is_passed_to_the_integrity_check(data: bytes) -> None:
    assert len(without_workflow(data)) <= len(data)
    if data.startswith(b"\xff\xd8"):
        assert without_workflow(data) == data


def test_an_image_cut_off_in_the_middle_of_a_chunk_stays_cut_off() -> None:
    cut = noise(50, 50)[:-200]
    assert without_workflow(cut) == cut


def test_files_of_unknown_shape_are_not_outputs() -> None:
    outputs = {
        "1": {"images": [{"filename": 3}, "x.png", {"filename": "a.png", "subfolder": None, "type": None}]},
        "2": "?",
    }
    assert read_outputs(outputs, ["1"]).images == (FileRef(filename="a.png"),)  # type: ignore[arg-type]


def test_images_of_several_nodes_come_in_the_order_of_the_graph() -> None:
    outputs = {node: {"images": [{"filename": f"{node}.png"}]} for node in ("9", "83:27", "10")}
    assert [file.filename for file in read_outputs(outputs, ["10", "9"]).images] == ["10.png", "9.png", "83:27.png"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "kind"), [(64, "PNG"), (1024, "PNG"), (1024, "WEBP"), (1024, "JPEG")])
def test_only_a_black_image_gives_a_notice(width: int, kind: str) -> None:
    black = GeneratedImage(image_file(width, width, kind=kind, colour=(0, 0, 0)))
    dark = GeneratedImage(image_file(width, width, kind=kind, colour=(0, 0, 40)))
    (notice,) = black_images([black])
    assert "completely black" in notice
    assert "--fp32-vae" in notice
    assert list(black_images([dark, GeneratedImage(noise(300, 300)), GeneratedImage(image_file()[:40])])) == []
    assert next(black_images([dark, black])).startswith("1 of the 2 images are")


def test_images_of_two_nodes_are_separate_batches() -> None:
    files: JsonValue = {"images": [{"filename": "a.png"}]}
    assert not read_outputs({"1": files, "2": files}, ["1", "2"]).one_batch
    assert read_outputs({"1": {"images": [{"filename": "a.png"}, {"filename": "b.png"}]}}, ["1"]).one_batch


@pytest.mark.parametrize(
    ("node", "package"),
    [("VHS_VideoCombine", "ComfyUI-VideoHelperSuite"), ("UnetLoaderGGUF", "ComfyUI-GGUF"), ("Seed (rgthree)", "rgthree-comfy"), ("Nothing", "")],
)  # fmt: skip
def test_known_extensions_are_named(node: str, package: str) -> None:
    assert package_of(node) == package


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        # The first four are from user reports, the others from the server's source.
        ("RuntimeError", "Given groups=1, weight of size [4, 4, 1, 1], expected input[1, 16, 144, 112] to have 4 channels, but got 16 channels instead"),
        ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (77x768 and 2048x640)"),
        ("RuntimeError", "Error(s) in loading state_dict for ControlNet: size mismatch for x: copying a param"),
        ("RuntimeError", "The size of tensor a (64) must match the size of tensor b (32) at non-singleton dimension 3"),
        ("RuntimeError", "ERROR: Could not detect model type of: /models/x.safetensors"),
        ("RuntimeError", "ERROR: clip input is invalid: None"),
        ("RuntimeError", "ERROR: controlnet file is invalid and does not contain a valid controlnet model."),
    ],
)  # fmt: skip
def test_files_that_cannot_work_together_are_the_requests_fault(kind: str, message: str) -> None:
    data = {"node_id": "8", "node_type": "VAEDecode", "exception_type": kind, "exception_message": message}
    status = RunStatus(status_str="error", messages=(("execution_error", data),))
    error = failed_run(status, TXT2IMG)
    assert isinstance(error, BadRequest)
    assert "node 8 (VAEDecode)" in error.said
    assert "made for" in error.next_step


@pytest.mark.parametrize(
    ("node", "name", "folder"),
    [
        ("CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
        ("DualCLIPLoader", "clip_name2", "text_encoders"),
        ("UNETLoader", "unet_name", "diffusion_models"),
        ("UpscaleModelLoader", "model_name", "upscale_models"),
        ("CLIPVisionLoader", "clip_name", "clip_vision"),
        ("KSampler", "sampler_name", ""),
    ],
)
def test_the_folder_of_a_missing_file_is_known(node: str, name: str, folder: str) -> None:
    assert folder_of(node, name) == folder


def test_a_webp_with_an_empty_header_is_left_to_the_check_of_images() -> None:
    """Found by `tools.fuzz`: the flags are in the first byte of the header."""
    frame = image_file(kind="WEBP")[12:]
    body = b"WEBP" + b"VP8X" + bytes(4) + frame
    data = b"RIFF" + len(body).to_bytes(4, "little") + body
    assert without_workflow(data) == data


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize("size", [6, 7])
def test_a_webp_keeps_every_other_chunk_and_its_padding(size: int) -> None:
    header = bytes([0x08 | 0x10, 0, 0, 0, 63, 0, 0, 47, 0, 0])
    frame, own = image_file(kind="WEBP")[12:], chunk(b"OWN ", b"x" * size)
    data = webp(chunk(b"VP8X", header), own, frame, chunk(b"EXIF", b"prompt:{}"))
    assert without_workflow(data) == webp(chunk(b"VP8X", bytes([0x10]) + header[1:]), own, frame)


def test_only_the_text_chunks_of_comfyui_leave_a_png() -> None:
    texts = PngInfo()
    for kind in ("prompt", "workflow"):
        texts.add_text(kind, "{}", zip=True)
    texts.add_text("parameters", "steps: 4")
    bare, full = PngInfo(), image_file(pnginfo=texts)
    bare.add_text("parameters", "steps: 4")
    assert without_workflow(full) == image_file(pnginfo=bare)


@pytest.mark.parametrize(("count", "notice"), [(1, "The image is completely"), (2, "2 of the 2 images are completely")])
def test_black_images_are_counted(count: int, notice: str) -> None:
    black = GeneratedImage(image_file(colour=(0, 0, 0)))
    assert next(black_images([black] * count)).startswith(notice)


@pytest.mark.parametrize("colour", [1, 2, 255])
def test_the_darkest_grey_is_not_black(colour: int) -> None:
    assert list(black_images([GeneratedImage(image_file(colour=colour, mode="L"))])) == []


@pytest.mark.parametrize(
    "outputs", [{"1": None}, {"1": {"images": None}}, {"1": {"images": [None, {}]}}, {"1": {"images": "a.png"}}]
)
def test_outputs_without_files_are_none(outputs: JsonValue) -> None:
    assert read_outputs(outputs, ["1"]) == OutputFiles((), one_batch=False)  # type: ignore[arg-type]


def test_a_file_that_was_deleted_is_a_failure_of_the_run() -> None:
    gone = DeletedFileError("a.png")
    assert (gone.filename, gone.said, gone.next_step) == (
        "a.png", "a.png was made and then deleted on the server", "Try again with another seed",
    )  # fmt: skip
    assert str(gone).startswith("Generating with ComfyUI failed: a.png was made")
