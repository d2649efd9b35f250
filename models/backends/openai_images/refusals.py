"""The reading of refusals beyond the table of `refusals.yaml`: errors inside 200."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from models.backends.errors import ServerUnavailable
from models.backends.openai_images.client import has_failed
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply, spelled
from models.settings import Access

TABLE = RefusalTable.beside(__file__)
_ACCEPTED = "It may be billed: look at the service's log or usage page before sending it again"


@dataclass(frozen=True, slots=True)
class Refusals:
    """The reading of one account's refusals; `models` names what the server is known to serve."""

    access: Access
    models: str = ""

    def explain(self, reply: Reply) -> Explanation:
        return self._explained(_fault(reply))

    def explain_success(self, reply: Reply) -> Explanation:
        """The reading of a 2xx answer without an image: gateways send errors with any status."""
        body, fault = reply.json(), _fault(reply)
        if fault.status < HTTPStatus.BAD_REQUEST and not _says_error(body):
            # A refused prompt may come as an empty list with a remark: only clear words count.
            fault = replace(fault, status=0)
        meaning = self._explained(fault)
        if not meaning.next_step:
            words = spelled(_without_bookkeeping(body))
            said = "the service reported success without an image" + (f" ({words})" if words else "")
            return Explanation(error=ServerUnavailable, said=said, next_step=_ACCEPTED)
        return replace(meaning, next_step=_ACCEPTED) if meaning.error is ServerUnavailable else meaning

    def _explained(self, fault: Fault) -> Explanation:
        listed = f"; it has {self.models}" if self.models else ""
        return TABLE.explain(fault, self.access, models=listed, login=self._login)

    @property
    def _login(self) -> str:
        if self.access.api_key:
            return f"Check {self.access.where('api_key')}; keys belong to one service and one account"
        if self.access.username:
            return f"Check {self.access.where('username')}, and the password"
        return f"The server wants a key: fill {self.access.where('api_key')}"


def _fault(reply: Reply) -> Fault:
    body = reply.json()
    return Fault.read(reply, said=f"HTTP {reply.status}, {spelled(body)}" if has_failed(body) else "")


_BOOKKEEPING = frozenset({"created", "id", "object", "model", "usage", "seed", "timings", "code", "size", "quality",
                          "background", "output_format"})  # fmt: skip
_FINE = re.compile(r"\W*(success(ful|fully)?|succeeded|succeed|ok(ay)?|done|completed|成功)\W*", re.IGNORECASE)


def _without_bookkeeping(body: object) -> object:
    """What an answer says besides its numbers and ids."""
    if not isinstance(body, Mapping):
        return body
    return {key: value for key, value in body.items() if key not in _BOOKKEEPING}


def as_reply(fault: object) -> Reply:
    """An error that stands inside a 2xx answer, as an answer of its own."""
    return Reply(200, {}, json.dumps({"error": fault}).encode())


def _says_error(body: object) -> bool:
    match body:
        case _ if has_failed(body):
            return True
        case [first, *_]:
            return _says_error(first)
        case {"error": fault} if fault:
            return True
        case {"errors": fault} | {"detail": fault} if fault:
            return True
        case {"message": str(words)} | {"msg": str(words)}:
            return bool(words.strip()) and not _FINE.fullmatch(words)
        case _:
            return False
