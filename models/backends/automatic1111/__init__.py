"""AUTOMATIC1111's WebUI and its relatives (Forge, reForge, SD.Next) over `/sdapi/v1`.

The way of a request, told in `backend`: `options` reads the parameters, `inputs` the images (`canvas` for outpainting),
`resolve` spells every name as the server does (`lists` fetches what it has, `names` compares, `servers` tells the kinds
apart), `build` and `upscale` make the body (`size`, `wire`), `gate` gives the turn, `job` sends and follows, `parse` reads
the answer, `explain` the refusal.
"""

from models.backends.automatic1111.backend import Automatic1111

__all__ = ["Automatic1111"]
