"""Prompts of one meaning, by the owner's embeddings endpoint: `embedding_url`, an OpenAI-style API.

API: `POST <base>/embeddings` with `model` and `input`; the reply has `data[0].embedding`
(https://platform.openai.com/docs/api-reference/embeddings). Only prompts with equal guards are compared.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import BaseModel, Field

from models.backends.errors import BadRequest
from models.backends.http import Retries, Service, bearer_auth, split_userinfo, with_scheme
from models.backends.reply import parse
from models.clock import Clock, Deadline, SystemClock
from models.settings import Settings
from models.stages.cache.entries import Neighbour

FIELD = "embedding_url"
_THRESHOLD = 0.95
_SECONDS = 5.0  # an endpoint that is slower costs more than it saves
_RETRIES = Retries(delays=(0.5,))
_LONGEST = 8_000  # characters; endpoints refuse longer inputs
_ATTEMPT = "Asking the embeddings endpoint"


class _Embedding(BaseModel):
    embedding: list[float] = Field(min_length=2)


class _Reply(BaseModel):
    data: list[_Embedding] = Field(min_length=1)


@dataclass(frozen=True, slots=True, repr=False)  # the service holds the key
class Meaning:
    service: Service
    model: str
    threshold: float

    @classmethod
    def read(cls, settings: Settings, clock: Clock | None = None) -> "Meaning":
        """Raises BadRequest, naming the field."""
        where = settings.where(FIELD)
        base, key, secret = split_userinfo(with_scheme(settings.text(FIELD)))
        parts = urlsplit(base)
        options = dict(parse_qsl(parts.query))
        unknown = set(options) - {"model", "threshold"}
        threshold = options.get("threshold", str(_THRESHOLD))
        if unknown or not re.fullmatch(r"0\.\d{1,6}|1(\.0+)?", threshold) or float(threshold) == 0:
            raise BadRequest(
                f"The query of {where} cannot be read",
                next_step="Write `?model=NAME&threshold=0.95`, with a threshold above 0, at most 1",
            )
        path = re.sub(r"/embeddings/?$", "", parts.path)
        login = key or secret
        service = Service(
            name="the embeddings endpoint",
            base_url=urlunsplit(parts._replace(path=path, query="")),
            clock=clock or SystemClock(),
            settings=where,
            headers=bearer_auth(f"{key}:{secret}" if key and secret else login),
            secrets=tuple(filter(None, (key, secret))),
        )
        return cls(service, options.get("model", ""), float(threshold))

    def vector(self, prompt: str) -> tuple[float, ...]:
        """Of length one. Raises ImageError."""
        model = {"model": self.model} if self.model else {}
        reply = self.service.request(
            "POST",
            "embeddings",
            attempt=_ATTEMPT,
            deadline=Deadline.after(self.service.clock, _SECONDS),
            json={**model, "input": prompt[:_LONGEST]},
            retries=_RETRIES,
        )
        values = parse(reply, _Reply, attempt=_ATTEMPT).data[0].embedding
        length = math.hypot(*values) or 1.0
        return tuple(value / length for value in values)

    def nearest(self, vector: Sequence[float], bag: str, others: Iterable[Neighbour]) -> str | None:
        """The name of the entry with the nearest meaning, if it is near enough.

        Prompts of the same words in another order are no neighbours: endpoints cannot tell who chases whom.
        """
        near = [
            (math.sumprod(vector, other.vector), other.name)
            for other in others
            if len(other.vector) == len(vector) and other.bag != bag
        ]
        likeness, name = max(near, default=(0.0, ""))
        return name if likeness >= self.threshold else None


def check_embeddings(settings: Settings) -> None:
    """Ask the endpoint when a form is saved. Raises ImageError."""
    Meaning.read(settings).vector("a red fox")
