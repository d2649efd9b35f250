"""What a server has: its lists of names, fetched when needed and remembered for a minute per process.

AUTOMATIC1111 API, section routes. A list that a server does not offer (404) is None: no list, not a broken server.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, Protocol
from weakref import WeakValueDictionary

from gevent.lock import BoundedSemaphore
from pydantic import BaseModel, TypeAdapter, ValidationError

from models.backends.automatic1111.names import Name
from models.backends.errors import ImageError, ServerUnavailable
from models.backends.http import Retries, Service, timed_out
from models.clock import Deadline
from models.settings import Access

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

FRESH = 60.0  # seconds a list is believed
SILENT = 10.0  # seconds for which the forms of a server that did not answer do without it
_KEPT = 512  # entries in memory, over all servers
_READ_TIMEOUT = 20.0
_RETRIES = Retries(delays=(0.2,))  # Forge closes a connection after an error; the next one works
_NO_LIST = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)

# --- the shapes of the lists ------------------------------------------------------------------------------------------


class _Entry(Protocol):
    def as_name(self) -> Name: ...


class _Plain(BaseModel):
    name: str

    def as_name(self) -> Name:
        return Name(self.name)


class _Checkpoint(BaseModel):
    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str | None = None

    def as_name(self) -> Name:
        file = _base(self.filename)
        tagged = f"{self.model_name} [{self.hash}]" if self.hash else None
        return _name(self.model_name, self.title, file, _stem(file), self.hash, self.sha256, tagged)


class _File(BaseModel):
    model_name: str
    filename: str | None = None

    def as_name(self) -> Name:
        return _name(self.model_name, _base(self.filename), _stem(_base(self.filename)))


class _Sampler(BaseModel):
    name: str
    aliases: tuple[str, ...] | None = None

    def as_name(self) -> Name:
        # The API does not understand these aliases itself; samplers go by them elsewhere, with and without `k_`.
        aliases = self.aliases or ()
        return _name(self.name, *aliases, *(alias.removeprefix("k_") for alias in aliases))


class _Scheduler(BaseModel):
    name: str
    label: str | None = None
    aliases: tuple[str, ...] | None = None

    def as_name(self) -> Name:
        return _name(self.label or self.name, self.name, *(self.aliases or ()))


class _Style(_Plain):
    prompt: str | None = None
    negative_prompt: str | None = None


class _Lora(BaseModel):
    name: str
    alias: str | None = None

    def as_name(self) -> Name:
        return _name(self.name, self.alias)


class _Embeddings(BaseModel):
    """`skipped` are those that do not fit the loaded model."""

    skipped: Mapping[str, object] = {}


class _Scripts(BaseModel):
    """Titles per tab; the always-on ones are those an API call may name."""

    txt2img: tuple[str, ...] = ()
    img2img: tuple[str, ...] = ()


class _ControlNetModels(BaseModel):
    model_list: tuple[str, ...]


class _ControlNetModules(BaseModel):
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
    styles = TypeAdapter(list[_Style]).validate_json(body)
    return [Name(style.name) for style in styles if style.prompt is not None or style.negative_prompt is not None]


def _unfit_embeddings(body: bytes) -> Sequence[Name]:
    return [Name(name) for name in _Embeddings.model_validate_json(body).skipped]


def _scripts(body: bytes) -> Sequence[Name]:
    scripts = _Scripts.model_validate_json(body)
    return [Name(title) for title in dict.fromkeys((*scripts.txt2img, *scripts.img2img))]


def _controlnet_models(body: bytes) -> Sequence[Name]:
    # "control_v11p_sd15_canny [d14c016b]": people write the name without its hash.
    models = _ControlNetModels.model_validate_json(body).model_list
    # Some preprocessors guide without a model (reference_only); that is asked for by "None".
    return [*(_name(model, model.partition(" [")[0]) for model in models), Name("None")]


def _controlnet_modules(body: bytes) -> Sequence[Name]:
    return [Name(module) for module in _ControlNetModules.model_validate_json(body).module_list]


_SOURCES: Mapping[ListName, tuple[str, Callable[[bytes], Sequence[Name]]]] = {
    "checkpoints": ("/sdapi/v1/sd-models", _entries(_Checkpoint)),
    "vaes": ("/sdapi/v1/sd-vae", _entries(_File)),
    "modules": ("/sdapi/v1/sd-modules", _entries(_File)),
    "samplers": ("/sdapi/v1/samplers", _entries(_Sampler)),
    "schedulers": ("/sdapi/v1/schedulers", _entries(_Scheduler)),
    "upscalers": ("/sdapi/v1/upscalers", _entries(_Plain)),
    "latent_upscalers": ("/sdapi/v1/latent-upscale-modes", _entries(_Plain)),
    "styles": ("/sdapi/v1/prompt-styles", _styles),
    "loras": ("/sdapi/v1/loras", _entries(_Lora)),
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


# --- the memory -------------------------------------------------------------------------------------------------------


_memory: OrderedDict[tuple[Access, ListName], tuple[float, Names]] = OrderedDict()
_silent: OrderedDict[Access, float] = OrderedDict()
_turns: WeakValueDictionary[tuple[Access, ListName], BoundedSemaphore] = WeakValueDictionary()


def forget() -> None:
    """Empty the memory."""
    _memory.clear()
    _silent.clear()


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of one server as one account sees them."""

    service: Service
    access: Access

    def get(self, name: ListName, deadline: Deadline, *, fresh: bool = False) -> Names:
        """The names, or None where the server has no such list. Raises ImageError when it cannot be asked.

        `fresh` asks again even if the list is remembered: somebody may just have added a file.
        """
        key = (self.access, name)
        # One asks, the others wait for the answer: forty requests at once must not ask for forty lists.
        turn = _turns.setdefault(key, BoundedSemaphore(1))
        if not turn.acquire(timeout=deadline.remaining):
            raise timed_out(_attempt(name))
        try:
            until, names = _memory.get(key, (0.0, None))
            if fresh or until <= self._now:
                names = self._ask(name, deadline)
                _keep(_memory, key, (self._now + FRESH, names))
            return names
        finally:
            turn.release()

    def offered(self, name: ListName, deadline: Deadline, *, fresh: bool = False) -> tuple[Name, ...]:
        """The names for a form, never an error: the last ones known while the server does not answer, and for a while
        after that without asking it."""
        if _silent.get(self.access, 0.0) <= self._now:
            try:
                return self.get(name, deadline, fresh=fresh) or ()
            except ImageError:
                _keep(_silent, self.access, self._now + SILENT)
        _, known = _memory.get((self.access, name), (0.0, None))
        return known or ()

    @property
    def _now(self) -> float:
        return self.service.clock.monotonic()

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


def _keep[K, V](memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > _KEPT:
        memory.popitem(last=False)
