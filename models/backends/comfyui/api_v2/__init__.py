"""The Comfy API v2: Comfy Cloud, serverless deployments, and `comfy-api-proxy` in front of a ComfyUI.

- `backend.py`: the backend: a submission is a job, an input image an asset; which addresses speak this API
- `client.py`: the routes and their JSON
- `refusals.yaml`: what errors mean
"""

from models.backends.comfyui.api_v2.backend import ComfyAPI, speaks_v2

__all__ = ["ComfyAPI", "speaks_v2"]
