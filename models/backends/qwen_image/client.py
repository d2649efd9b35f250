"""Model Studio as one account sees it: one method per call, typed answers.

Source: Model Studio, multimodal generation API, task API, model list.
"""

import random
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from models.backends.errors import ImageError, ServerUnavailable
from models.backends.http import ONCE, Retries, Service, bearer_auth
from models.backends.qwen_image.facts import JobApi
from models.backends.qwen_image.refusals import Asked, explain, explain_failure
from models.backends.qwen_image.wire import (
    ASYNC_HEADER,
    JOB_PATHS,
    SYNC_PATH,
    Answer,
    Body,
    CompatibleModelList,
    Failure,
    ModelList,
    Output,
)
from models.backends.reply import Reply, parse
from models.clock import Clock, Deadline

GENERATE = "Generating with Model Studio"
_LOOK = "Looking at the job in Model Studio"
_CANCEL = "Cancelling the job in Model Studio"
_CHECK_KEY = "Checking the key with Model Studio"

_SYNC_SECONDS = 300.0  # the service ends a synchronous call there; several images of 3.0 may take twice as long
_TASK_SECONDS = 60.0
_CHECK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class ModelStudio:
    """The calls of one account about one model. Every method raises ImageError, explained for the account."""

    asked: Asked
    clock: Clock

    def generate(self, body: Body, *, deadline: Deadline) -> Output:
        """Make images while the connection waits."""
        seconds = _SYNC_SECONDS * min(2, body.parameters.n)
        return _output(self._post(SYNC_PATH, body, deadline=deadline, read_timeout=seconds), GENERATE)

    def submit(self, api: JobApi, body: Body, *, deadline: Deadline) -> str:
        """Hand a task in and return its id."""
        reply = self._post(JOB_PATHS[api], body, deadline=deadline, headers=ASYNC_HEADER, read_timeout=_TASK_SECONDS)
        if task_id := _output(reply, GENERATE).task_id:
            return task_id
        raise ServerUnavailable(f"{GENERATE} failed", "the service accepted the job without naming it", "Try again")

    def look(self, task_id: str) -> Output:
        """The state of a task, and what it made."""
        deadline = Deadline.after(self.clock, _TASK_SECONDS)
        return _output(self._service().request("GET", f"tasks/{task_id}", attempt=_LOOK, deadline=deadline), _LOOK)

    def cancel(self, task_id: str) -> None:
        """Take a task out of the queue; the service refuses that for a running one."""
        deadline = Deadline.after(self.clock, _TASK_SECONDS)
        self._service().request("POST", f"tasks/{task_id}/cancel", attempt=_CANCEL, deadline=deadline)

    def check_key(self) -> None:
        """List one model. Token Plans and some gateways have only the OpenAI-compatible list."""
        if self.asked.account.token_plan or not self._has_native_list():
            reply = self._list(self.asked.account.compatible_url)
            parse(reply, CompatibleModelList, attempt=_CHECK_KEY)

    def failure(self, failure: Failure) -> ImageError:
        """The error for a failure that came inside a successful answer."""
        meaning = explain_failure(self.asked, failure, HTTPStatus.INTERNAL_SERVER_ERROR)
        return self._service().failure(GENERATE, meaning)

    def _has_native_list(self) -> bool:
        missing = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
        reply = self._list(self.asked.account.base_url, params={"page_no": 1, "page_size": 1}, accept=missing)
        return reply.ok and bool(parse(reply, ModelList, attempt=_CHECK_KEY))

    def _list(
        self, base_url: str, *, params: dict[str, str | int] | None = None, accept: tuple[int, ...] = ()
    ) -> Reply:
        return self._service(base_url).request(
            "GET",
            "models",
            attempt=_CHECK_KEY,
            deadline=Deadline.after(self.clock, _CHECK_SECONDS),
            params=params,
            retries=ONCE,
            accept=accept,
        )

    def _post(
        self,
        path: str,
        body: Body,
        *,
        deadline: Deadline,
        read_timeout: float,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        return self._service().request(
            "POST",
            path,
            attempt=GENERATE,
            deadline=deadline,
            json=body.json_body(),
            headers=headers,
            read_timeout=read_timeout,
            retries=_retries(),
        )

    def _service(self, base_url: str = "") -> Service:
        account = self.asked.account
        return Service(
            name="Model Studio",
            base_url=base_url or account.base_url,
            clock=self.clock,
            settings=f"`{account.access.field('base_url')}` {account.access.place}",
            headers=bearer_auth(account.access.api_key),
            secrets=account.access.secrets,
            explain=partial(explain, self.asked),
        )


def _output(reply: Reply, attempt: str) -> Output:
    return parse(reply, Answer, attempt=attempt).output


def _retries() -> Retries:
    """The service names no waits: one or two seconds, then four to eight, spread so that callers do not meet again."""
    draw = random.SystemRandom().uniform
    return Retries(delays=(draw(1, 2), draw(4, 8)))
