"""The graph side of ComfyUI: reading a workflow, finding what can be set in it, filling a request in. No I/O.

| module | what it does |
| --- | --- |
| `workflow` | a workflow as the backend uses it: its form, what it needs on a server |
| `source` | what people paste: API format, editor format, request bodies, images made by ComfyUI |
| `editor` | a file of the editor converted to API format: links |
| `editor_file`, `editor_values` | the file as it lies on disk with its group nodes; its nameless values |
| `graph` | nodes and links in API format, following links to the place of a value, changes |
| `nodes` | what is known about node classes: `../nodes.yaml`, `../parameters.yaml`, the server's definitions |
| `samplers`, `prompts`, `sizes`, `images` | finding settings and model files, texts, sizes, input images and masks |
| `slots` | everything that was found, by parameter, and what the author marked: placeholders and titles |
| `fill` | a request put into the graph |

Nothing here knows the transport; the modules beside this folder use the names below alone.
"""

from models.backends.comfyui.graph.fill import Filled
from models.backends.comfyui.graph.graph import Graph, Node, RawGraph
from models.backends.comfyui.graph.nodes import ObjectInfo, extra_rules, folder_of, package_of, workflow_rules
from models.backends.comfyui.graph.source import read_source
from models.backends.comfyui.graph.workflow import Workflow

__all__ = [
    "Filled",
    "Graph",
    "Node",
    "ObjectInfo",
    "RawGraph",
    "Workflow",
    "extra_rules",
    "folder_of",
    "package_of",
    "read_source",
    "workflow_rules",
]
