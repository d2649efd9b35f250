"""Builds the request for one model on one server, without I/O."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from models.backends.errors import BadRequest, unsupported
from models.backends.http import FormField
from models.backends.openai_images.models import Route, ServedModel
from models.entities import ImageRequest, InputImage
from models.images.inputs import as_alpha, fitted

PNG = "png"

type Value = bool | int | float | str | tuple[str, ...]
type Words = Mapping[str, Value]
"""Values by the plugin's names: those of the vocabulary, and `size` as `WxH` or `auto`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A call as it is sent. `optional` keys may be left out; `has_seed`: whether the seed is sent."""

    route: Route
    fields: Mapping[str, Value]
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    optional: frozenset[str] = frozenset()
    has_seed: bool = False
    notices: tuple[str, ...] = ()

    @property
    def json_body(self) -> dict[str, object]:
        route = self.route
        if route.body == "chat":
            return _as_chat(self.fields, self.images)
        texts = [image.base64 if route.bare_base64 else image.data_url for image in self.images]
        named = dict(zip(route.image_keys, texts, strict=False))
        return {**self.fields, **named, **({route.images_key: texts} if texts and route.images_key else {})}

    @property
    def form(self) -> list[tuple[str, FormField]]:
        fields = self.fields.items()
        texts = [(key, str(value).lower() if isinstance(value, bool) else str(value)) for key, value in fields]
        several = self.route.images_key if len(self.images) > 1 else ""
        files = [
            (several or self.route.image_keys[0], _file(image, f"image{n}")) for n, image in enumerate(self.images, 1)
        ]
        return [*texts, *files, *([(self.route.mask, _file(self.mask, "mask"))] if self.mask else ())]

    def without(self, *keys: str) -> "Wire":
        return replace(self, fields={name: value for name, value in self.fields.items() if name not in keys})

    def in_lower_quality(self) -> "Wire | None":
        """The same call in the next lower quality, with a notice; None where none is left to fall back to."""
        word = self.fields.get("quality")
        lower = _LOWER.get(word) if isinstance(word, str) else None
        if lower is None:
            return None
        notice = f"The service refused the quality `{word}`; `{lower}` was used."
        return replace(self, fields={**self.fields, "quality": lower}, notices=(*self.notices, notice))


_LOWER = {"max": "xhigh", "xhigh": "high"}
"""Resellers of a model that has these qualities may refuse them."""


def _as_chat(fields: Mapping[str, Value], images: Iterable[InputImage]) -> dict[str, object]:
    """The body of a chat completion: one message of the user with the prompt and the images."""
    text = {"type": "text", "text": fields["prompt"]}
    shown = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in images]
    others = {key: value for key, value in fields.items() if key != "prompt"}
    return {**others, "messages": [{"role": "user", "content": [text, *shown]}], "stream": False}


def _file(image: InputImage, name: str) -> FormField:
    """A file of a form; the user's own file name is not sent."""
    return (f"{name}.{image.mime_type.rpartition('/')[2]}", image.data, image.mime_type)


def route_for(request: ImageRequest, served: ServedModel) -> Route:
    return served.dialect.route(edits=bool(request.images), masked=request.mask is not None)


def prepared(request: ImageRequest, served: ServedModel) -> ImageRequest:
    """The request with its images as the server takes them. Raises BadRequest for one that cannot be converted."""
    ready = fitted(request, served.dialect.inputs)
    if ready.mask and ready.images and route_for(request, served).mask_form == "alpha":
        return replace(ready, mask=as_alpha(ready.mask))
    return ready


def build(request: ImageRequest, served: ServedModel) -> Wire:
    """The call of a prepared request. Raises BadRequest for a number of images or a mask that the server cannot take."""
    route = route_for(request, served)
    understood = served.understood(route)
    _check(request, served, understood)
    every = _words(request, served, route)
    words = {word: value for word, value in every.items() if value is not None and word in understood}
    in_prompt = _IN_PROMPT.get(route.prompt_syntax)
    written = {**words, "prompt": in_prompt(words)} if in_prompt else words
    return Wire(
        route=route,
        fields=_nested({key: value for word, value in written.items() if (key := route.keys[word])}),
        images=request.images,
        mask=request.mask,
        optional=_optional(request, route),
        has_seed="seed" in words,
        notices=(
            *_left_out(request, served, understood),
            *_word_notices(request, served),
            *_prompt_notices(request, route),
        ),
    )


def _nested(fields: Mapping[str, Value]) -> Mapping[str, Value]:
    """The fields as they are sent: a key `a.b` is the entry `b` of the JSON text `a`."""
    inner: dict[str, dict[str, Value]] = {}
    for key, value in fields.items():
        outer, dot, name = key.partition(".")
        if dot:
            inner.setdefault(outer, {})[name] = value
    texts = {outer: json.dumps(values) for outer, values in inner.items()}
    return {**{key: value for key, value in fields.items() if "." not in key}, **texts}


def _check(request: ImageRequest, served: ServedModel, understood: frozenset[str]) -> None:
    most = served.n if "n" in understood else 1
    if request.n > most:
        way_out = f"Ask for at most {most}" if most > 1 else "Ask for one, or repeat the node"
        raise unsupported(f"{request.n} images at once on {served.dialect.title}", model=served.remote, way_out=way_out)
    if request.mask and not request.images:
        raise BadRequest(
            f"{served.remote} got a mask without an image", next_step="Send the image together with its mask"
        )
    if request.extra.get("background") == "transparent" and request.output_format == "jpeg":
        raise BadRequest("JPEG has no transparent background", next_step="Set `output_format` to png or webp")
    if request.mask and served.dialect.inpaint and len(request.images) > 1:
        raise unsupported(
            f"{len(request.images)} input images with a mask on {served.dialect.title}",
            model=served.remote,
            way_out="Send one image and its mask",
        )


def _words(request: ImageRequest, served: ServedModel, route: Route) -> Mapping[str, Value | None]:
    """Every value that could be sent, whether or not the server supports it."""
    known = served.family if served.dialect.defaults else None
    return {
        **request.extra,
        "model": served.remote,
        "prompt": _prompt(request),
        "modalities": ("image", "text"),
        "n": request.n,
        "size": _size(request, served),
        "negative_prompt": _negative(request, served),
        "steps": known.steps if known and request.steps is None else request.steps,
        served.cfg_word(route): known.cfg if known and request.cfg_scale is None else request.cfg_scale,
        "seed": request.seed,
        "denoising_strength": request.denoising_strength if request.images else None,
        "sampler": request.sampler,
        "scheduler": request.scheduler,
        "style_preset": request.style_preset,
        **_file_words(request, served),
    }


def _prompt(request: ImageRequest) -> str:
    prompt = without_server_tag(request.prompt).strip()
    if not prompt:
        raise BadRequest("There is no prompt", next_step="Write what the image shows into the node's user message")
    return prompt


def _size(request: ImageRequest, served: ServedModel) -> str | None:
    if request.size:
        return served.dialect.size_mark.join(map(str, request.size))
    return "auto" if served.family.gpt else None


def _negative(request: ImageRequest, served: ServedModel) -> str | None:
    negative = without_server_tag(request.negative_prompt).strip()
    # Without the key, even empty, true CFG stays off.
    blank = " " if served.family.true_cfg and served.dialect.blank_negative else None
    return negative or blank


def _file_words(request: ImageRequest, served: ServedModel) -> Mapping[str, Value | None]:
    if not served.family.gpt:
        return {"output_format": PNG, "response_format": "b64_json"}
    kind = request.output_format or PNG
    return {"output_format": kind, "output_quality": None if kind == PNG else request.output_quality}


def _optional(request: ImageRequest, route: Route) -> frozenset[str]:
    # Not essential: the plugin reads every format and converts to the requested one.
    words = ("response_format", "output_format", "modalities", *(("n",) if request.n == 1 else ()))
    return frozenset(key for word in words if (key := route.keys.get(word)))


# Parameters inside the prompt.

_TAG = "sd_cpp_extra_args"
_BLOCK = re.compile(rf"<{_TAG}>.*?</{_TAG}>", re.IGNORECASE | re.DOTALL)
_MARK = re.compile(rf"</?{_TAG}>?", re.IGNORECASE)
_NATIVE_WORDS = {"negative_prompt": "negative_prompt", "seed": "seed", "denoising_strength": "strength"}
_SAMPLE_WORDS = {"steps": "sample_steps", "sampler": "sample_method", "scheduler": "scheduler"}


def without_server_tag(text: str) -> str:
    """`text` without any `<sd_cpp_extra_args>` block: a prompt must not set server parameters."""
    while (shorter := _MARK.sub("", _BLOCK.sub("", text))) != text:
        text = shorter  # removing a block may join the halves of another one
    return text


def _negative_after_bar(words: Words) -> str:
    """LocalAI splits the prompt at `|`: the second part is the negative prompt, further ones are lost."""
    parts = (words["prompt"], words.get("negative_prompt"))
    return "|".join(str(part).replace("|", "/") for part in parts if part)


def _controls_in_prompt(words: Words) -> str:
    """stable-diffusion.cpp takes its native controls as JSON inside the prompt."""
    native: dict[str, object] = {key: words[word] for word, key in _NATIVE_WORDS.items() if word in words}
    sample: dict[str, object] = {key: words[word] for word, key in _SAMPLE_WORDS.items() if word in words}
    if "cfg_scale" in words:
        sample["guidance"] = {"txt_cfg": words["cfg_scale"]}
    if sample:
        native["sample_params"] = sample
    # No value may end the tag: `<` is written as JSON allows.
    inner = json.dumps(native).replace("<", "\\u003c")
    return f"{words['prompt']} <{_TAG}>{inner}</{_TAG}>" if native else str(words["prompt"])


_IN_PROMPT: Mapping[str, Callable[[Words], str]] = {"bar": _negative_after_bar, _TAG: _controls_in_prompt}


# Notices.

_REPORTED = ("negative_prompt", "steps", "cfg_scale", "denoising_strength", "sampler", "scheduler", "style_preset")


def _left_out(request: ImageRequest, served: ServedModel, understood: frozenset[str]) -> list[str]:
    known = understood | ({"cfg_scale"} if "true_cfg_scale" in understood else set())
    given = [word for word in _REPORTED if getattr(request, word) not in (None, "")]
    names = [f"`{word}`" for word in (*given, *request.extra) if word not in known]
    return [f"{served.dialect.title} does not take {name} for {served.remote}; it was left out." for name in names]


def _word_notices(request: ImageRequest, served: ServedModel) -> Iterator[str]:
    """A quality that OpenAI adds after this was written must not wait for an update of the plugin."""
    quality, known = request.extra.get("quality"), served.family.qualities
    if quality and known and quality not in known:
        yield f"`quality` = {quality} is not known for {served.remote}; it was passed on as it is."


def _prompt_notices(request: ImageRequest, route: Route) -> Iterator[str]:
    if without_server_tag(request.prompt) != request.prompt:
        yield "Server parameters inside the prompt were removed."
    if route.prompt_syntax == "bar" and "|" in request.prompt + request.negative_prompt:
        yield "`|` in the prompt was replaced by `/`, because the server splits prompts there."
