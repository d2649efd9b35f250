"""Model files and strengths: every loader that the image depends on, under one name each."""

from collections.abc import Iterable, Mapping

from models.backends.comfyui.graph.graph import Graph, Node, Target
from models.backends.comfyui.graph.values import is_number, settle

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
    found: dict[str, list[Target]] = {}
    for node in _ordered(graph, outputs, starts):
        for name, parameter in _parameters(node).items():
            place = settle(graph, node, name, text=name not in STRENGTHS.get(node.class_type, {}))
            if place and not _goes_along(node, name, found) and not any(place in places for places in found.values()):
                found[_free(parameter, node, found)] = [place]
    return found


def _parameters(node: Node) -> dict[str, str]:
    """Input name → parameter, of what this node has."""
    known = {**_BY_CLASS.get(node.class_type, FILE_INPUTS), **STRENGTHS.get(node.class_type, {})}
    return {name: parameter for name, parameter in known.items() if name in node.inputs}


def _ordered(graph: Graph, outputs: Iterable[str], starts: Iterable[str]) -> list[Node]:
    near = graph.upstream(starts)
    known = {node.id for node in near}
    return [*near, *(node for node in graph.upstream(outputs) if node.id not in known)]


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


def _free(parameter: str, node: Node, found: dict[str, list[Target]]) -> str:
    """The parameter's name, numbered from the second on; a LoRA's strengths have the number of their LoRA."""
    named = next((name for name, places in found.items() if places[0] == Target(node.id, "lora_name")), None)
    if named and parameter != "lora":
        return parameter + named.removeprefix("lora")
    numbers = (f"_{number}" if number > 1 else "" for number in range(1, len(found) + 2))
    return next(parameter + number for number in numbers if parameter + number not in found)
