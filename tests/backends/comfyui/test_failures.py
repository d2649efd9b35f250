"""What errors of a run mean."""

import pytest

from models.backends.comfyui.client import RunStatus
from models.backends.comfyui.failures import failed_run
from models.backends.comfyui.graph import folder_of, package_of
from models.backends.errors import BadRequest
from tests.backends.comfyui.jobs import TXT2IMG


@pytest.mark.parametrize(
    ("node", "package"),
    [("VHS_VideoCombine", "ComfyUI-VideoHelperSuite"), ("UnetLoaderGGUF", "ComfyUI-GGUF"), ("Seed (rgthree)", "rgthree-comfy"), ("Nothing", "")],
)  # fmt: skip
def test_known_extensions_are_named(node: str, package: str) -> None:
    assert package_of(node) == package


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        # The first four are quoted from reports of users, the others from the server's source.
        ("RuntimeError", "Given groups=1, weight of size [4, 4, 1, 1], expected input[1, 16, 144, 112] to have 4 channels, but got 16 channels instead"),
        ("RuntimeError", "mat1 and mat2 shapes cannot be multiplied (77x768 and 2048x640)"),
        ("RuntimeError", "Error(s) in loading state_dict for ControlNet: size mismatch for x: copying a param"),
        ("RuntimeError", "The size of tensor a (64) must match the size of tensor b (32) at non-singleton dimension 3"),
        ("RuntimeError", "ERROR: Could not detect model type of: /models/x.safetensors"),
        ("RuntimeError", "ERROR: clip input is invalid: None"),
        ("RuntimeError", "ERROR: controlnet file is invalid and does not contain a valid controlnet model."),
    ],
)  # fmt: skip
def test_incompatible_model_files_are_a_bad_request(kind: str, message: str) -> None:
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
def test_the_folder_of_a_missing_file_is_named(node: str, name: str, folder: str) -> None:
    assert folder_of(node, name) == folder
