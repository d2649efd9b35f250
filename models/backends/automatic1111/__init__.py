"""AUTOMATIC1111's WebUI and its relatives (Forge, reForge, SD.Next) over `/sdapi/v1`.

`backend` holds the way of a request. `images` tells the input images apart and makes them ready; `names` spells every
name as the server does, with the lists of `server_lists`; `build` makes the body, from them and the parameters of
`parameters.yaml`; `job` sends and follows it; `results` reads the answer or the refusal.
"""

from models.backends.automatic1111.backend import Automatic1111

__all__ = ["Automatic1111"]
