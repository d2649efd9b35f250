"""ComfyUI: a workflow, shipped or pasted, is the model; the user's own server runs it, or one of Comfy's.

- `workflow_backend.py`: what every server has in common: a request becomes filled graphs
- `backend.py`: the backend of a ComfyUI server; `api_v2/`: that of the Comfy API v2, chosen by the address
- `graph/`: a workflow as data: its slots, form and filling (knows nothing of the server's routes)
- `nodes.yaml`, `parameters.yaml`: what is known about ComfyUI's nodes, and the parameters that only workflows have
- `model_workflow.py`: from a model to its workflows, with the server's node definitions; `workflows/` holds the shipped ones
- `client.py`: the server's REST routes and its JSON
- `state.py`, `jobs.py`: a job as JSON, and how it is submitted, polled, resubmitted, fetched and cancelled
- `events.py`: the server's WebSocket, and the wait for a job's end
- `results.py`, `refusals.yaml`: the images of a finished job, and what errors mean
"""

from models.backends.comfyui.backend import ComfyUI

__all__ = ["ComfyUI"]
