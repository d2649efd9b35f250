"""What a server has: its lists of names, fetched when needed and kept for a minute, and the search in them.

AUTOMATIC1111 API, section routes. A list that a server does not offer (404) is None: no list, not a broken server.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, Protocol

from gevent.lock import BoundedSemaphore
from pydantic import BaseModel, TypeAdapter, ValidationError

from models.backends.cache import ServerCache
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import Retries, Service, timed_out
from models.clock import Deadline

type ListName = Literal[
    "checkpoints",
    "vaes",
    "modules",
    "samplers",
    "schedulers",
    "upscalers",
    "latent_upscalers",
    "styles",
    "loras",
    "unfit_embeddings",
    "scripts",
    "controlnet_models",
    "controlnet_modules",
]
type Names = tuple[Name, ...] | None

_SHOWN = 12  # names in a message
_READ_TIMEOUT = 20.0
_RETRIES = Retries(delays=(0.2,))  # Forge closes a connection after an error; the next one works
_NO_LIST = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)

# --- names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """One thing on the server: how it is asked for, and every other spelling that means it."""

    sent: str
    known_as: tuple[str, ...] = ()

    def means(self, word: str | None) -> bool:
        return word is not None and (word == self.sent or word in self.known_as)


def find(kind: str, asked: str, names: Sequence[Name]) -> Name:
    """The thing that `asked` means. Raises BadRequest with the nearest and the available ones."""
    found = lookup(asked, names)
    if found is None:
        raise unknown_name(kind, asked, [name.sent for name in names])
    return found


def lookup(asked: str, names: Sequence[Name]) -> Name | None:
    """Exact spelling first, another known spelling next, then without regard to case where that is unambiguous."""
    exact = [name for name in names if name.sent == asked] or [name for name in names if name.means(asked)]
    if exact:
        return exact[0]
    folded = asked.casefold()
    similar = [name for name in names if any(word.casefold() == folded for word in (name.sent, *name.known_as))]
    return similar[0] if len(similar) == 1 else None


def unknown_name(kind: str, asked: str, available: Sequence[str]) -> BadRequest:
    """The refusal of a name that the server does not have."""
    if not available:
        return BadRequest(
            f"There is no {kind} {asked!r} on the server", next_step=f"It has none; leave the {kind} empty"
        )
    near = difflib.get_close_matches(asked, available, n=3, cutoff=0.5)
    shown = ", ".join(dict.fromkeys([*near, *available[:_SHOWN]]))
    rest = f" ({len(available)} in all)" if len(available) > _SHOWN else ""
    return BadRequest(
        f"There is no {kind} {asked!r} on the server",
        next_step=f"It has: {shown}{rest}; a file added just now shows after a refresh in the WebUI",
    )


# --- the shapes of the lists ------------------------------------------------------------------------------------------


class _Entry(Protocol):
    def as_name(self) -> Name: ...


class _NamedEntry(BaseModel):
    name: str

    def as_name(self) -> Name:
        return Name(self.name)


class _CheckpointEntry(BaseModel):
    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str | None = None

    def as_name(self) -> Name:
        file = _base(self.filename)
        tagged = f"{self.model_name} [{self.hash}]" if self.hash else None
        return _name(self.model_name, self.title, file, _stem(file), self.hash, self.sha256, tagged)


class _FileEntry(BaseModel):
    model_name: str
    filename: str | None = None

    def as_name(self) -> Name:
        return _name(self.model_name, _base(self.filename), _stem(_base(self.filename)))


class _SamplerEntry(_NamedEntry):
    aliases: tuple[str, ...] | None = None

    def as_name(self) -> Name:
        # The API does not understand these aliases itself; other programs use them, with and without `k_`.
        aliases = self.aliases or ()
        return _name(self.name, *aliases, *(alias.removeprefix("k_") for alias in aliases))


class _SchedulerEntry(_NamedEntry):
    label: str | None = None
    aliases: tuple[str, ...] | None = None

    def as_name(self) -> Name:
        return _name(self.label or self.name, self.name, *(self.aliases or ()))


class _StyleEntry(_NamedEntry):
    prompt: str | None = None
    negative_prompt: str | None = None


class _LoraEntry(_NamedEntry):
    alias: str | None = None

    def as_name(self) -> Name:
        return _name(self.name, self.alias)


class _EmbeddingsReply(BaseModel):
    """`skipped` are those that do not fit the loaded model."""

    skipped: Mapping[str, object] = {}


class _ScriptsReply(BaseModel):
    """Titles per tab; the always-on ones are those an API call may name."""

    txt2img: tuple[str, ...] = ()
    img2img: tuple[str, ...] = ()


class _ControlNetModelsReply(BaseModel):
    model_list: tuple[str, ...]


class _ControlNetModulesReply(BaseModel):
    module_list: tuple[str, ...]


def _name(sent: str, *others: str | None) -> Name:
    return Name(sent, tuple(dict.fromkeys(other for other in others if other and other != sent)))


def _base(path: str | None) -> str | None:
    # The server may be a Windows machine.
    return path.replace("\\", "/").rpartition("/")[2] if path else None


def _stem(file: str | None) -> str | None:
    return file.rpartition(".")[0] or file if file else None


def _entries[E: _Entry](entry: type[E]) -> Callable[[bytes], Sequence[Name]]:
    adapter: TypeAdapter[list[E]] = TypeAdapter(list[entry])  # type: ignore[valid-type]
    return lambda body: [item.as_name() for item in adapter.validate_json(body)]


def _styles(body: bytes) -> Sequence[Name]:
    # Forge's list has headings between the styles: entries without any text.
    styles = TypeAdapter(list[_StyleEntry]).validate_json(body)
    return [Name(style.name) for style in styles if style.prompt is not None or style.negative_prompt is not None]


def _unfit_embeddings(body: bytes) -> Sequence[Name]:
    return [Name(name) for name in _EmbeddingsReply.model_validate_json(body).skipped]


def _scripts(body: bytes) -> Sequence[Name]:
    scripts = _ScriptsReply.model_validate_json(body)
    return [Name(title) for title in dict.fromkeys((*scripts.txt2img, *scripts.img2img))]


def _controlnet_models(body: bytes) -> Sequence[Name]:
    # "control_v11p_sd15_canny [d14c016b]": people write the name without its hash.
    models = _ControlNetModelsReply.model_validate_json(body).model_list
    # Some preprocessors guide without a model (reference_only); that is asked for by "None".
    return [*(_name(model, model.partition(" [")[0]) for model in models), Name("None")]


def _controlnet_modules(body: bytes) -> Sequence[Name]:
    return [Name(module) for module in _ControlNetModulesReply.model_validate_json(body).module_list]


_SOURCES: Mapping[ListName, tuple[str, Callable[[bytes], Sequence[Name]]]] = {
    "checkpoints": ("/sdapi/v1/sd-models", _entries(_CheckpointEntry)),
    "vaes": ("/sdapi/v1/sd-vae", _entries(_FileEntry)),
    "modules": ("/sdapi/v1/sd-modules", _entries(_FileEntry)),
    "samplers": ("/sdapi/v1/samplers", _entries(_SamplerEntry)),
    "schedulers": ("/sdapi/v1/schedulers", _entries(_SchedulerEntry)),
    "upscalers": ("/sdapi/v1/upscalers", _entries(_NamedEntry)),
    "latent_upscalers": ("/sdapi/v1/latent-upscale-modes", _entries(_NamedEntry)),
    "styles": ("/sdapi/v1/prompt-styles", _styles),
    "loras": ("/sdapi/v1/loras", _entries(_LoraEntry)),
    "unfit_embeddings": ("/sdapi/v1/embeddings", _unfit_embeddings),
    "scripts": ("/sdapi/v1/scripts", _scripts),
    "controlnet_models": ("/controlnet/model_list", _controlnet_models),
    "controlnet_modules": ("/controlnet/module_list", _controlnet_modules),
}


def read_list(name: ListName, body: bytes) -> tuple[Name, ...]:
    """The names in a list's answer. Raises ServerUnavailable for an answer of another shape."""
    try:
        return tuple(_SOURCES[name][1](body))
    except ValidationError:
        raise ServerUnavailable(
            f"{_attempt(name)} failed",
            "the answer was not understood",
            "Check that the address is that of a Stable Diffusion WebUI and that no proxy answers in its place",
        ) from None


def _attempt(name: ListName) -> str:
    return f"Asking the WebUI for its {name.replace('_', ' ')}"


# --- asking -----------------------------------------------------------------------------------------------------------

# Each value is kept as a 1-tuple: None inside says that the server has no such list.
_FRESH: ServerCache[tuple[Names]] = ServerCache(seconds=60)
_LAST_KNOWN: ServerCache[tuple[Names]] = ServerCache(seconds=24 * 3600)
_UNANSWERED: ServerCache[bool] = ServerCache(seconds=10)
_ASKING: ServerCache[BoundedSemaphore] = ServerCache(seconds=60)


@dataclass(frozen=True, slots=True)
class ServerLists:
    """The lists of one server as one account sees them."""

    service: Service

    def get(self, name: ListName, deadline: Deadline, *, fresh: bool = False) -> Names:
        """The names, or None where the server has no such list. Raises ImageError when it cannot be asked.

        `fresh` asks again even if the list is kept: somebody may just have added a file.
        """
        asking = self._asking(name)
        if not asking.acquire(timeout=deadline.remaining):
            raise timed_out(_attempt(name))
        try:
            kept = None if fresh else _FRESH.get(self.service, name)
            if kept is None:
                kept = (self._ask(name, deadline),)
                for cache in (_FRESH, _LAST_KNOWN):
                    cache.put(self.service, kept, name)
            return kept[0]
        finally:
            asking.release()

    def offered(self, name: ListName, deadline: Deadline, *, fresh: bool = False) -> tuple[Name, ...]:
        """The names for a form, never an error: the last ones known while the server does not answer, and for ten
        seconds after that without asking it."""
        if not _UNANSWERED.get(self.service):
            try:
                return self.get(name, deadline, fresh=fresh) or ()
            except ImageError:
                _UNANSWERED.put(self.service, value=True)
        (known,) = _LAST_KNOWN.get(self.service, name) or (None,)
        return known or ()

    def _asking(self, name: ListName) -> BoundedSemaphore:
        """One asks, the others wait for the answer: forty requests at once must not ask for forty lists."""
        asking = _ASKING.get(self.service, name)
        if asking is None:
            asking = BoundedSemaphore(1)
            _ASKING.put(self.service, asking, name)
        return asking

    def _ask(self, name: ListName, deadline: Deadline) -> Names:
        reply = self.service.request(
            "GET",
            _SOURCES[name][0],
            attempt=_attempt(name),
            deadline=deadline,
            read_timeout=_READ_TIMEOUT,
            retries=_RETRIES,
            accept=_NO_LIST,
        )
        return read_list(name, reply.body) if reply.ok else None
