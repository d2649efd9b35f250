"""Where the servers differ, as far as a client must know it (AUTOMATIC1111 API, section "telling the servers apart").

A1111 before 1.9 has no list of schedulers: samplers are then asked for by joined names (`DPM++ 2M Karras`), see
`resolve`. reForge answers like AUTOMATIC1111. SD.Next and reForge were read, not run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import JsonValue

from models.backends.automatic1111.lists import ListName
from models.backends.http import Service
from models.clock import Deadline


@dataclass(frozen=True, slots=True)
class Server:
    """One kind of server: the route that only it has, and how a VAE is asked for in one request."""

    title: str
    proof: str
    vae_list: ListName
    vae_settings: Callable[[Sequence[str]], Mapping[str, JsonValue]]


def _one_vae(names: Sequence[str]) -> Mapping[str, JsonValue]:
    return {"sd_vae": names[0]}


def _forge_modules(names: Sequence[str]) -> Mapping[str, JsonValue]:
    return {"forge_additional_modules": list(names)}


FORGE = Server("Forge", "/sdapi/v1/sd-modules", "modules", _forge_modules)
SD_NEXT = Server("SD.Next", "/sdapi/v1/version", "vaes", _one_vae)
A1111 = Server("AUTOMATIC1111", "/sdapi/v1/sd-models", "vaes", _one_vae)

SERVERS = (FORGE, SD_NEXT, A1111)
"""In the order of asking: the last one's route proves only that it is a WebUI at all."""


def recognise(service: Service, deadline: Deadline) -> Server:
    """Which kind of server answers, by free questions. Raises ImageError."""
    for server in SERVERS[:-1]:
        reply = service.request(
            "GET",
            server.proof,
            attempt="Asking the WebUI for its kind",
            deadline=deadline,
            accept=(HTTPStatus.NOT_FOUND,),
        )
        if reply.ok:
            return server
    return SERVERS[-1]
