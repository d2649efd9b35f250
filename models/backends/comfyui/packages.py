"""Which extension a node class comes from, for the message about one that the server lacks.

The names stand in ComfyUI-Manager's own list (`extension-node-map.json`, August 2026); patterns cover the families of
one extension. A workflow saved by the editor may say it better, so this is only the hint for exported ones.
"""

from fnmatch import fnmatchcase

_PACKAGES = {
    "VHS_*": "ComfyUI-VideoHelperSuite",
    "UltimateSDUpscale*": "ComfyUI_UltimateSDUpscale",
    "IPAdapter*": "ComfyUI_IPAdapter_plus",
    "FaceDetailer*": "ComfyUI-Impact-Pack",
    "Impact*": "ComfyUI-Impact-Pack",
    "*LoaderGGUF*": "ComfyUI-GGUF",
    "*Preprocessor": "comfyui_controlnet_aux",
    "ACN_*": "ComfyUI-Advanced-ControlNet",
    "ADE_*": "ComfyUI-AnimateDiff-Evolved",
    "Efficient Loader": "efficiency-nodes-comfyui",
    "KSampler*(Efficient)": "efficiency-nodes-comfyui",
    "*|pysssss": "ComfyUI-Custom-Scripts",
    "*(rgthree)": "rgthree-comfy",
    "CR *": "ComfyUI_Comfyroll_CustomNodes",
    "easy *": "ComfyUI-Easy-Use",
    "*KJ": "ComfyUI-KJNodes",
    "ETN_*": "comfyui-tooling-nodes",
    "INPAINT_*": "comfyui-inpaint-nodes",
    "InpaintCrop*": "ComfyUI-Inpaint-CropAndStitch",
    "InpaintStitch*": "ComfyUI-Inpaint-CropAndStitch",
    "BrushNet*": "ComfyUI-BrushNet",
    "Nunchaku*": "ComfyUI-nunchaku",
    "ReActor*": "ComfyUI-ReActor",
    "SUPIR_*": "ComfyUI-SUPIR",
    "*RMBG*": "ComfyUI-RMBG",
    "*Florence2*": "ComfyUI-Florence2",
    "WanVideo*": "ComfyUI-WanVideoWrapper",
    "TiledDiffusion": "ComfyUI-TiledDiffusion",
    "LayerMask: *": "ComfyUI_LayerStyle_Advance",
}


def package_of(class_type: str) -> str:
    """Name of the extension that brings the node, "" when it is not known."""
    return next((package for pattern, package in _PACKAGES.items() if fnmatchcase(class_type, pattern)), "")
