"""From a settled ImageRequest to what is sent, for one model on one server. Pure: nothing is sent here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from models.backends.errors import BadRequest, unsupported
from models.backends.http import FormField
from models.backends.openai_images.dialects import Route
from models.backends.openai_images.families import ServedModel
from models.backends.openai_images.wire import (
    ImageCall,
    Value,
    as_text,
    part,
    renamed,
    without_server_tag,
)
from models.entities import ImageRequest, InputImage
from models.images.inputs import as_alpha, fit, mask_of, same_size

B64 = "b64_json"
PNG = "png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A call as it is sent. `optional` keys are the plugin's own additions, without which the call means the same;
    `has_seed` says whether the server is given the request's seed."""

    route: Route
    fields: Mapping[str, Value]
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    optional: frozenset[str] = frozenset()
    has_seed: bool = False
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

    def without(self, *keys: str) -> "Wire":
        """The same call without keys that the server refuses."""
        return replace(self, fields={name: value for name, value in self.fields.items() if name not in keys})


def route_for(request: ImageRequest, served: ServedModel) -> Route:
    return served.dialect.route(edits=bool(request.images), masked=request.mask is not None)


def prepared(request: ImageRequest, served: ServedModel) -> ImageRequest:
    """The request with its images as the server takes them; what was changed is among its notices.

    Raises BadRequest for an image that cannot be brought within the server's limits.
    """
    fitted = [fit(image, served.dialect.inputs) for image in request.images]
    images = tuple(image for image, _ in fitted)
    route = route_for(request, served)
    ready = replace(
        request,
        images=images,
        mask=_formed(request.mask, images[0], route) if request.mask and images else request.mask,
    )
    return ready.with_notices(*(notice for _, notices in fitted for notice in notices))


def _formed(mask: InputImage, image: InputImage, route: Route) -> InputImage:
    sized = same_size(mask_of(mask), image)
    return as_alpha(sized) if route.mask_form == "alpha" else sized


def build(request: ImageRequest, served: ServedModel) -> Wire:
    """The wire form of a prepared request. Raises BadRequest for a number of images or a mask that the server cannot
    take."""
    route = route_for(request, served)
    understood = served.understood(route)
    _check(request, served, understood)
    call = ImageCall(
        model=served.remote,
        prompt=without_server_tag(request.prompt).strip(),
        n=request.n,
        size=_size(request, served),
        negative_prompt=_negative(request, served),
        seed=request.seed,
        denoising_strength=request.denoising_strength if request.images else None,
        sampler=request.sampler,
        scheduler=request.scheduler,
        style_preset=request.style_preset,
        **_guidance(request, served, route),
        **_file(request, served),
        **_own(request),
    )
    if not call.prompt:
        raise BadRequest("There is no prompt", next_step="Write what the image shows into the node's user message")
    sent = call.model_copy(update=dict.fromkeys(set(call.words) - understood))
    return Wire(
        route=route,
        fields=renamed(route.rewrite(sent).words, route.keys),
        images=request.images,
        mask=request.mask,
        optional=_optional(request, route),
        has_seed=sent.seed is not None,
        notices=(*_left_out(request, served, understood), *_prompt_notices(request, route)),
    )


def _check(request: ImageRequest, served: ServedModel, understood: frozenset[str]) -> None:
    most = served.n if "n" in understood else 1
    if request.n > most:
        way_out = f"Ask for at most {most}" if most > 1 else "Ask for one, or repeat the node"
        raise unsupported(f"{request.n} images at once on {served.dialect.title}", model=served.remote, way_out=way_out)
    if request.mask and not request.images:
        raise BadRequest(
            f"{served.remote} got a mask without an image", next_step="Send the image together with its mask"
        )
    if request.mask and served.dialect.inpaint and len(request.images) > 1:
        raise unsupported(
            f"{len(request.images)} input images with a mask on {served.dialect.title}",
            model=served.remote,
            way_out="Send one image and its mask",
        )


def _optional(request: ImageRequest, route: Route) -> frozenset[str]:
    # The format is only a saving: the plugin reads every format and delivers the one that was asked for.
    words = ("response_format", "output_format", *(("n",) if request.n == 1 else ()))
    return frozenset(key for word in words if (key := route.keys.get(word)))


def _size(request: ImageRequest, served: ServedModel) -> str | None:
    if request.size:
        return "{}x{}".format(*request.size)
    return "auto" if served.family.gpt else None


def _negative(request: ImageRequest, served: ServedModel) -> str | None:
    negative = without_server_tag(request.negative_prompt).strip()
    # Without the key, even empty, true CFG stays off.
    blank = " " if served.family.true_cfg and served.dialect.blank_negative else None
    return negative or blank


def _guidance(request: ImageRequest, served: ServedModel, route: Route) -> dict[str, int | float | None]:
    scale = served.cfg if request.cfg_scale is None else request.cfg_scale
    return {
        "steps": served.steps if request.steps is None else request.steps,
        served.cfg_word(route): scale,
    }


def _file(request: ImageRequest, served: ServedModel) -> dict[str, str | int | None]:
    if not served.family.gpt:
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
    "denoising_strength": "`denoising_strength`",
    "sampler": "`sampler`",
    "scheduler": "`scheduler`",
    "style_preset": "`style_preset`",
}


def _left_out(request: ImageRequest, served: ServedModel, understood: frozenset[str]) -> list[str]:
    known = understood | ({"cfg_scale"} if "true_cfg_scale" in understood else set())
    given = [word for word in _WORTH_TELLING if getattr(request, word) not in (None, "")]
    names = [_WORTH_TELLING[word] for word in given if word not in known]
    names += [f"`{word}`" for word in request.extra if word not in known]
    return [f"{served.dialect.title} does not take {name} for {served.remote}; it was left out." for name in names]


def _prompt_notices(request: ImageRequest, route: Route) -> list[str]:
    notices = []
    if without_server_tag(request.prompt) != request.prompt:
        notices.append("Server parameters inside the prompt were taken out.")
    if route.splits_at_bar and "|" in request.prompt + request.negative_prompt:
        notices.append("`|` in the prompt became `/`: the server splits prompts there.")
    return notices
