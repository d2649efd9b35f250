"""AUTOMATIC1111's WebUI and its forks (Forge, reForge, SD.Next) over `/sdapi/v1`.

- `backend.py`: the class; `images.py`: the roles of the input images, outpainting and upscaling
- `names.py`, `server_lists.py`, `lists.yaml`: names as the server spells them, and its lists
- `build.py`, `parameters.yaml`: the request body, and the parameters that only the WebUI has
- `job.py`: one job; `results.py`, `refusals.yaml`: the images of a reply, and what errors mean
"""

from models.backends.automatic1111.backend import Automatic1111

__all__ = ["Automatic1111"]
