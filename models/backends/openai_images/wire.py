"""Where a call goes, what it says in the plugin's vocabulary, and the functions by which a dialect writes it."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict

from models.backends.http import FormField
from models.entities import InputImage

type Value = bool | int | float | str

_ENDPOINT = re.compile(r"/(images(/\w+)?|models|chat/completions|completions|responses|embeddings)$")
_VERSION = re.compile(r"/(v\d+(\.\d+)?((alpha|beta)\d*)?(/.*)?|openai/deployments/[^/]+)$")
_AZURE = re.compile(r"\.azure\.(com|cn|us)$")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the form, read the way people paste it: with and without the version, or the whole endpoint.

    `root` is what stands before the API's version, `api` the path of the API below it (`v1`, `api/v3`), `query`
    what goes with every request (`api-version`)."""

    root: str
    api: str = "v1"
    query: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> "Address":
        """A path with a version is complete, and so is one that names an endpoint; `v1` is added to others."""
        try:
            parts = urlsplit(url)
        except ValueError:  # no URL at all: the first request will say so
            return cls(url)
        path = parts.path.rstrip("/")
        above = _ENDPOINT.sub("", path)
        version = _VERSION.search(above)
        before = above[: version.start()] if version else above
        api = version[1] if version else "v1" if above == path else ""
        root = urlunsplit(parts._replace(path=before, query="", fragment=""))
        return cls(root, api, dict(parse_qsl(parts.query)))

    def path(self, name: str) -> str:
        """The path of an endpoint of the API, below `root`."""
        return f"{self.api}/{name}" if self.api else name

    @property
    def is_deployment(self) -> bool:
        """Whether the address itself names the model (Azure OpenAI and gateways that copy it)."""
        return "deployments/" in self.api

    @property
    def host(self) -> str:
        """The host's name; empty where the address is no URL, which the first request reports."""
        try:
            return urlsplit(self.root).hostname or ""
        except ValueError:
            return ""

    @property
    def wants_api_key_header(self) -> bool:
        """Azure's services read a key from the header `api-key`; `Authorization` is for tokens there."""
        return self.is_deployment or bool(_AZURE.search(self.host))


class ImageCall(BaseModel):
    """Everything that a dialect may send. `size` is `WxH` or `auto`; what is None is not sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    prompt: str
    n: int | None = None
    size: str | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    true_cfg_scale: float | None = None
    seed: int | None = None
    denoising_strength: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    output_format: str | None = None
    output_quality: int | None = None
    response_format: str | None = None
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    input_fidelity: str | None = None
    style_preset: str | None = None

    @property
    def words(self) -> dict[str, Value]:
        """What is set, by the plugin's names."""
        words: dict[str, Value] = self.model_dump(exclude_none=True)
        return words


# Changes a call for a server that has no keys of its own for some words.
type Rewrite = Callable[[ImageCall], ImageCall]


def unchanged(call: ImageCall) -> ImageCall:
    return call


def negative_after_bar(call: ImageCall) -> ImageCall:
    """LocalAI splits the prompt at `|`: the second part is the negative prompt, further ones are lost."""
    prompt = without_bar(call.prompt)
    if call.negative_prompt and call.negative_prompt.strip():
        prompt = f"{prompt}|{without_bar(call.negative_prompt)}"
    return call.model_copy(update={"prompt": prompt, "negative_prompt": None})


def without_bar(text: str) -> str:
    return text.replace("|", "/")


_TAG = "sd_cpp_extra_args"
_BLOCK = re.compile(rf"<{_TAG}>.*?</{_TAG}>", re.IGNORECASE | re.DOTALL)
_MARK = re.compile(rf"</?{_TAG}>?", re.IGNORECASE)


def without_server_tag(text: str) -> str:
    """`text` without any `<sd_cpp_extra_args>` block: whoever writes a prompt must not set server parameters."""
    while (shorter := _MARK.sub("", _BLOCK.sub("", text))) != text:
        text = shorter  # taking a block out may put the halves of another one together
    return text


_SAMPLE_WORDS = {"steps": "sample_steps", "sampler": "sample_method", "scheduler": "scheduler"}
_NATIVE_WORDS = {"negative_prompt": "negative_prompt", "seed": "seed", "denoising_strength": "strength"}


def controls_in_prompt(call: ImageCall) -> ImageCall:
    """stable-diffusion.cpp takes its native controls as JSON inside the prompt."""
    words = call.words
    native: dict[str, object] = {key: words[word] for word, key in _NATIVE_WORDS.items() if word in words}
    sample: dict[str, object] = {key: words[word] for word, key in _SAMPLE_WORDS.items() if word in words}
    if call.cfg_scale is not None:
        sample["guidance"] = {"txt_cfg": call.cfg_scale}
    if sample:
        native["sample_params"] = sample
    carried = dict.fromkeys((*_NATIVE_WORDS, *_SAMPLE_WORDS, "cfg_scale"))
    # No value may end the tag: `<` is written as JSON allows.
    inner = json.dumps(native).replace("<", "\\u003c")
    tag = f" <{_TAG}>{inner}</{_TAG}>" if native else ""
    return call.model_copy(update={**carried, "prompt": call.prompt + tag})


# How input images travel: parts of a form, or entries of a JSON body.
type Parts = list[tuple[str, FormField]]
type Entries = dict[str, object]
type Upload = Callable[[Sequence[InputImage]], Parts]
type Inline = Callable[[Sequence[InputImage]], Entries]


def part(image: InputImage, name: str) -> tuple[str, bytes, str]:
    """A file of a form. The user's own file name is not sent; the type comes from the bytes."""
    return (f"{name}.{image.mime_type.rpartition('/')[2]}", image.data, image.mime_type)


def parts_named(key: str, several: str = "") -> Upload:
    """Every image as a part `key`; two and more as `several` where the server wants another name for a list."""

    def upload(images: Sequence[InputImage]) -> Parts:
        name = several if several and len(images) > 1 else key
        return [(name, part(image, f"image{number}")) for number, image in enumerate(images, 1)]

    return upload


def data_urls(*keys: str) -> Inline:
    """Image by image as a data URL under its own key."""

    def inline(images: Sequence[InputImage]) -> Entries:
        return {key: image.data_url for key, image in zip(keys, images, strict=False)}

    return inline


def init_and_references(images: Sequence[InputImage]) -> Entries:
    """LocalAI: the first image as start of img2img, all as references of editing models; raw base64, no prefix."""
    return {"file": images[0].base64, "ref_images": [image.base64 for image in images]}


def no_parts(images: Sequence[InputImage]) -> Parts:
    del images
    return []


def no_entries(images: Sequence[InputImage]) -> Entries:
    del images
    return {}


def renamed(words: Mapping[str, Value], keys: Mapping[str, str]) -> dict[str, Value]:
    """The words that have a key, under it."""
    return {keys[word]: value for word, value in words.items() if keys.get(word)}


def as_text(value: Value) -> str:
    """A value as a form carries it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
