"""From a prepared ImageRequest to what goes over the wire, for one model on one server. Pure: nothing is sent here."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.backends.errors import BadRequest, unsupported
from models.backends.http import FormField
from models.backends.openai_images.call import (
    Call,
    Value,
    as_text,
    part,
    renamed,
    without_server_tag,
)
from models.backends.openai_images.dialects import Route
from models.backends.openai_images.server import Server
from models.backends.openai_images.sizes import Size, written
from models.entities import ImageRequest, InputImage
from models.images.sniff import sniff

B64 = "b64_json"
PNG = "png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A call as it is sent. `size` is the size asked of the server, `seed` the seed that it was really given."""

    route: Route
    fields: Mapping[str, Value]
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    size: Size | None = None
    seed: int | None = None
    notices: tuple[str, ...] = ()

    @property
    def json_body(self) -> dict[str, object]:
        return {**self.fields, **(self.route.inline(self.images) if self.images else {})}

    @property
    def form(self) -> list[tuple[str, FormField]]:
        parts: list[tuple[str, FormField]] = [(key, as_text(value)) for key, value in self.fields.items()]
        parts += self.route.upload(self.images)
        if self.mask:
            parts.append((self.route.mask, part(self.mask, "mask")))
        return parts


def build(request: ImageRequest, server: Server) -> Wire:
    """The wire form of a request that this model takes.

    Raises BadRequest for a number of images, a mask or a seed that the server cannot honour.
    """
    route = server.dialect.route(edits=bool(request.images), masked=request.mask is not None)
    understood = server.understood(route)
    _check(request, server, understood)
    size, size_notices = _size(request, server, route, understood)
    call = Call(
        model=server.remote,
        prompt=without_server_tag(request.prompt).strip(),
        n=request.n,
        size=written(size) if size else ("auto" if server.family.gpt else None),
        negative_prompt=_negative(request, server),
        seed=request.seed,
        denoising_strength=request.denoising_strength if request.images else None,
        sampler=request.sampler,
        scheduler=request.scheduler,
        style_preset=request.style_preset,
        **_guidance(request, server, route),
        **_file(request, server),
        **_own(request),
    )
    if not call.prompt:
        raise BadRequest("There is no prompt", next_step="Write what the image shows into the node's user message")
    said = call.model_copy(update=dict.fromkeys(set(call.words) - understood))
    return Wire(
        route=route,
        fields=renamed(route.rewrite(said).words, route.keys),
        images=request.images,
        mask=request.mask,
        size=size,
        seed=said.seed,
        notices=(*size_notices, *_left_out(request, server, understood), *_prompt_notices(request, route)),
    )


def _check(request: ImageRequest, server: Server, understood: frozenset[str]) -> None:
    most = server.n if "n" in understood else 1
    if request.n > most:
        way_out = f"Ask for at most {most}" if most > 1 else "Ask for one, or repeat the node"
        raise unsupported(f"{request.n} images at once on {server.dialect.title}", model=server.remote, way_out=way_out)
    if request.mask and not request.images:
        raise BadRequest(
            f"{server.remote} got a mask without an image", next_step="Send the image together with its mask"
        )
    if request.mask and server.dialect.inpaint and len(request.images) > 1:
        raise unsupported(
            f"{len(request.images)} input images with a mask on {server.dialect.title}",
            model=server.remote,
            way_out="Send one image and its mask",
        )
    largest = server.dialect.seed
    if request.seed is not None and largest is not None and request.seed > largest:
        raise BadRequest(
            f"{server.dialect.title} cannot take the seed {request.seed}", next_step=f"Give at most {largest}"
        )


def _size(
    request: ImageRequest, server: Server, route: Route, understood: frozenset[str]
) -> tuple[Size | None, tuple[str, ...]]:
    shaped = (request.width and request.height) or request.aspect_ratio
    if "size" not in understood:
        return None, (f"{server.remote} has no size parameter here; the asked shape was left out.",) if shaped else ()
    legal = server.family.sizes
    if request.width and request.height:
        size = legal.legal(request.width, request.height)
        if size == (request.width, request.height):
            return size, ()
        return size, (f"{request.width}x{request.height} became {written(size)}, the nearest size of this model.",)
    if request.aspect_ratio:
        size = legal.by_ratio(request.aspect_ratio)
        if legal.closed and request.aspect_ratio not in legal.presets:
            return size, (f"{request.aspect_ratio} became {written(size)}, the nearest shape of this model.",)
        return size, ()
    if request.images:
        return _input_size(request.images[0], server) if route.input_size else None, ()
    return legal.default, ()


def _input_size(image: InputImage, server: Server) -> Size:
    header = sniff(image.data)
    return server.family.sizes.legal(header.width, header.height)


def _negative(request: ImageRequest, server: Server) -> str | None:
    negative = without_server_tag(request.negative_prompt).strip()
    # Without the key, even empty, true CFG stays off.
    blank = " " if server.family.true_cfg and server.dialect.blank_negative else None
    return negative or blank


def _guidance(request: ImageRequest, server: Server, route: Route) -> dict[str, int | float | None]:
    scale = server.cfg if request.cfg_scale is None else request.cfg_scale
    return {
        "steps": server.steps if request.steps is None else request.steps,
        server.cfg_word(route): scale,
    }


def _file(request: ImageRequest, server: Server) -> dict[str, str | int | None]:
    if not server.family.gpt:
        return {"response_format": B64, "output_format": PNG}
    kind = request.output_format or PNG
    return {"output_format": kind, "output_quality": None if kind == PNG else request.output_quality}


def _own(request: ImageRequest) -> dict[str, str | None]:
    names = ("quality", "background", "moderation", "input_fidelity")
    return {name: str(value) if (value := request.extra.get(name)) is not None else None for name in names}


_WORTH_TELLING = {
    "negative_prompt": "the negative prompt",
    "steps": "`steps`",
    "cfg_scale": "`cfg_scale`",
    "seed": "the seed",
    "denoising_strength": "`denoising_strength`",
    "sampler": "`sampler`",
    "scheduler": "`scheduler`",
    "style_preset": "`style_preset`",
}


def _left_out(request: ImageRequest, server: Server, understood: frozenset[str]) -> list[str]:
    known = understood | ({"cfg_scale"} if "true_cfg_scale" in understood else set())
    given = [word for word in _WORTH_TELLING if getattr(request, word) not in (None, "")]
    told = [_WORTH_TELLING[word] for word in given if word not in known]
    told += [f"`{word}`" for word in request.extra if word not in known]
    return [f"{server.dialect.title} does not take {name} for {server.remote}; it was left out." for name in told]


def _prompt_notices(request: ImageRequest, route: Route) -> list[str]:
    notices = []
    if without_server_tag(request.prompt) != request.prompt:
        notices.append("Server parameters inside the prompt were taken out.")
    if route.splits_at_bar and "|" in request.prompt + request.negative_prompt:
        notices.append("`|` in the prompt became `/`: the server splits prompts there.")
    return notices
