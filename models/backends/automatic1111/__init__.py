"""AUTOMATIC1111's WebUI and its relatives (Forge, reForge, SD.Next) over `/sdapi/v1`.

`backend` holds the way of a request. `options` types the parameters of `parameters.yaml`; `images` tells the input
images apart and `pixels` makes them ready; `names` spells every name as the server does, with the lists of
`server_lists`; `build` makes the body of `wire`; `job` sends and follows it; `results` reads the answer or the refusal,
whose meaning `refusals.yaml` knows.
"""

from models.backends.automatic1111.backend import Automatic1111

__all__ = ["Automatic1111"]
