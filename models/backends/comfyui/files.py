"""Model files and strengths: every loader that the picture depends on, under one name each."""

from collections.abc import Iterable, Mapping

from models.backends.comfyui.graph import Graph, Node, Target
from models.backends.comfyui.values import is_number, settle

# Inputs of loaders and the parameter that they become; `text` inputs name files.
FILE_INPUTS: Mapping[str, str] = {
    "ckpt_name": "checkpoint",
    "unet_name": "unet",
    "clip_name": "clip",
    "clip_name1": "clip",
    "clip_name2": "clip",
    "clip_name3": "clip",
    "clip_name4": "clip",
    "vae_name": "vae",
    "lora_name": "lora",
    "control_net_name": "controlnet",
    "style_model_name": "style_model",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetwork",
}
_BY_CLASS: Mapping[str, Mapping[str, str]] = {
    "UpscaleModelLoader": {"model_name": "upscale_model"},
    "CLIPVisionLoader": {"clip_name": "clip_vision"},
}

# Numbers that users turn, by the class that has them.
STRENGTHS: Mapping[str, Mapping[str, str]] = {
    "LoraLoader": {"strength_model": "lora_strength", "strength_clip": "lora_clip_strength"},
    "LoraLoaderModelOnly": {"strength_model": "lora_strength"},
    "ControlNetApply": {"strength": "controlnet_strength"},
    "ControlNetApplyAdvanced": {"strength": "controlnet_strength"},
    "FluxGuidance": {"guidance": "guidance"},
    "CLIPTextEncodeFlux": {"guidance": "guidance"},
    "ModelSamplingAuraFlow": {"shift": "shift"},
    "ModelSamplingSD3": {"shift": "shift"},
}


def find_files(graph: Graph, outputs: Iterable[str], starts: Iterable[str]) -> dict[str, list[Target]]:
    """Places by parameter name, the first sampler's own files first; a second LoRA is `lora_2`.

    A number that stands in several nodes as the same value (the guidance of both passes) is one parameter.
    """
    nodes = _ordered(graph, outputs, starts)
    found: dict[str, list[Target]] = {}
    for node in nodes:
        for name, parameter in _BY_CLASS.get(node.class_type, FILE_INPUTS).items():
            _add(graph, node, name, parameter, found, text=True)
        for name, parameter in STRENGTHS.get(node.class_type, {}).items():
            if not _goes_along(node, name, found):
                _add(graph, node, name, parameter, found, text=False)
    return found


def _ordered(graph: Graph, outputs: Iterable[str], starts: Iterable[str]) -> list[Node]:
    near = graph.upstream(starts)
    known = {node.id for node in near}
    return [*near, *(node for node in graph.upstream(outputs) if node.id not in known)]


def _add(graph: Graph, node: Node, name: str, parameter: str, found: dict[str, list[Target]], *, text: bool) -> None:
    if name not in node.inputs:
        return
    place = settle(graph, node, name, text=text)
    if place is None or any(place in places for places in found.values()):
        return
    number = next(n for n in range(1, len(found) + 2) if _numbered(parameter, n) not in found)
    found[_numbered(parameter, number)] = [place]


def _goes_along(node: Node, name: str, found: dict[str, list[Target]]) -> bool:
    """A LoRA's strength on the text encoder follows its strength on the model where the workflow has them equal."""
    own = node.inputs.get("strength_model")
    if name != "strength_clip" or not is_number(own) or node.inputs.get(name) != own:
        return False
    places = next((p for p in found.values() if p[0] == Target(node.id, "strength_model")), None)
    if places is None:
        return False
    places.append(Target(node.id, name))
    return True


def _numbered(parameter: str, number: int) -> str:
    return parameter if number == 1 else f"{parameter}_{number}"
