"""The Model Studio API for one account: one method per route, typed replies, and the download of results.

Source: Model Studio, multimodal generation API, task API, model list.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlsplit

from models.backends.cache import ServerCache
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.http import MAX_REPLY_BYTES, MIB, NOT_THERE, ONCE, REPEATED, Retries, Service
from models.backends.images import download_result, image_bytes, is_public, video_in
from models.backends.partial import Partial, collected, each, together
from models.backends.qwen_image.account import RefusalContext, compatible_base, explain_failure
from models.backends.qwen_image.models import JobApi
from models.backends.qwen_image.wire import (
    ASYNC_HEADER,
    JOB_PATHS,
    SYNC_PATH,
    ModelList,
    Output,
    ResultEntry,
    StudioBody,
    StudioFailure,
    StudioReply,
)
from models.backends.reply import Reply, parse
from models.clock import Deadline
from models.entities import GeneratedImage

GENERATE = "Generating with Model Studio"
_LOOK = "Looking at the job in Model Studio"
_CANCEL = "Cancelling the job in Model Studio"
_CHECK_KEY = "Checking the key with Model Studio"
_DOWNLOADS = {what: f"Downloading the {what} from Model Studio" for what in ("image", "video")}

_SYNC_SECONDS = 300.0  # the service ends a synchronous call there; several images of 3.0 may take twice as long
_SUBMIT_SECONDS = 60.0
_MAX_TASK_BYTES = 4 * MIB  # addresses and rewritten prompts
_MAX_IMAGE_BYTES = 64 * MIB
_FETCHED_AT_ONCE = 4
_POLLS_A_SECOND = 10  # the service allows an account 20; other processes may share it

_NEXT_POLL: ServerCache[float] = ServerCache(seconds=60)
"""When the next poll of an account is due, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ModelStudio:
    """The calls of one account about one model. Every method raises ImageError, explained for the account."""

    service: Service
    context: RefusalContext

    def generate(self, body: StudioBody, *, deadline: Deadline) -> Output:
        seconds = _SYNC_SECONDS * min(2, body.parameters.n)
        return self.output(self._post(SYNC_PATH, body.json_body(), deadline=deadline, read_timeout=seconds), GENERATE)

    def submit(self, api: JobApi, body: StudioBody, *, deadline: Deadline) -> str:
        return self.submit_to(JOB_PATHS[api], body.json_body(), deadline=deadline)

    def submit_to(self, path: str, body: Mapping[str, object], *, deadline: Deadline) -> str:
        """The id of a new task."""
        reply = self._post(path, body, deadline=deadline, headers=ASYNC_HEADER, read_timeout=_SUBMIT_SECONDS)
        if task_id := self.output(reply, GENERATE).task_id:
            return task_id
        raise ServerUnavailable(
            f"{GENERATE} failed",
            "the service accepted the job without returning its id",
            "It may have been billed: check the Model Studio console before sending it again",
        )

    def look(self, task_id: str, *, deadline: Deadline) -> Reply:
        """The state of a task. Not retried: the caller polls again anyway."""
        self._wait_for_turn()
        return self.service.request(
            "GET", f"tasks/{task_id}", attempt=_LOOK, deadline=deadline, retries=ONCE, max_bytes=_MAX_TASK_BYTES
        )

    def _wait_for_turn(self) -> None:
        """Keep all jobs of the process within the account's rate of polls."""
        clock = self.service.clock
        due = max(clock.now(), _NEXT_POLL.get(self.service) or 0.0)
        _NEXT_POLL.put(self.service, due + 1 / _POLLS_A_SECOND)
        if due > clock.now():
            clock.sleep(due - clock.now())

    def cancel(self, task_id: str, *, deadline: Deadline) -> None:
        """Cancel a queued task; the service refuses that for a running one."""
        self.service.request("POST", f"tasks/{task_id}/cancel", attempt=_CANCEL, deadline=deadline)

    def check_key(self, deadline: Deadline) -> None:
        """List one model. Token Plans and some gateways have only the OpenAI-compatible list."""
        if self.context.account.token_plan or not self._has_native_list(deadline):
            compatible = replace(self.service, base_url=compatible_base(self.service.base_url))
            reply = compatible.request("GET", "models", attempt=_CHECK_KEY, deadline=deadline, retries=ONCE)
            parse(reply, ModelList, attempt=_CHECK_KEY)

    def images(self, output: Output, seed: int, *, deadline: Deadline, retries: Retries = REPEATED) -> Partial:
        """The images of a finished output, and the failures of those that cannot be fetched. Does not raise."""
        if output.text and not output.images:
            advice = "Change the prompt or the input images as it asks, and describe plainly what the image shows"
            return Partial(failures=(BadRequest("The model replied without an image", output.text, advice),))
        refused = tuple(self.failure(entry) for entry in output.images if not entry.url)
        named = [entry for entry in output.images if entry.url]

        def fetched(entry: ResultEntry) -> Partial:
            return each(lambda one: self._fetch(one, seed, deadline, retries), (entry,))

        return Partial(failures=refused) + collected(together(fetched, named, at_once=_FETCHED_AT_ONCE))

    def failure(self, failure: StudioFailure, attempt: str = GENERATE) -> ImageError:
        meaning = explain_failure(self.context, failure, HTTPStatus.INTERNAL_SERVER_ERROR)
        return self.service.failure(attempt, meaning, transient=meaning.retry_after is not None)

    def output(self, reply: Reply, attempt: str = _LOOK) -> Output:
        """The output of a 200; raises the failure that it may hold in place of one."""
        body = reply.json()
        failure = StudioFailure.read(body)
        if not (isinstance(body, dict) and body.get("output")) and (failure.code or failure.message):
            raise self.failure(failure, attempt)
        return parse(reply, StudioReply, attempt=attempt).output

    def video(self, address: str, seed: int | None, *, deadline: Deadline) -> GeneratedImage:
        """A finished video, with its address where the host can fetch it too."""
        reply = self._downloaded(address, "video", deadline, ONCE)
        public = is_public(urlsplit(reply.url).hostname or "")
        return replace(video_in(reply, attempt=GENERATE), url=reply.url if public else None, seed=seed)

    def _fetch(self, entry: ResultEntry, seed: int, deadline: Deadline, retries: Retries) -> GeneratedImage:
        reply = self._downloaded(entry.url, "image", deadline, retries)
        image = image_bytes(reply.body, attempt=_DOWNLOADS["image"])
        return GeneratedImage(image, url=reply.url, seed=seed, revised_prompt=entry.actual_prompt)

    def _downloaded(self, address: str, what: Literal["image", "video"], deadline: Deadline, retries: Retries) -> Reply:
        """A service on the public internet is asked over https, at public addresses only; one on a private address (a
        gateway, a test double) may name what it likes."""
        private = not is_public(urlsplit(self.service.base_url).hostname or "")
        return download_result(
            # The URL's signature does not cover its scheme, so http can be replaced by https.
            address if private else re.sub("^http:", "https:", address),
            attempt=_DOWNLOADS[what],
            clock=self.service.clock,
            deadline=deadline,
            retries=retries,
            allow_private=private,
            next_step=f"Generate it again: the service keeps {what}s for 24 hours",
            max_bytes=MAX_REPLY_BYTES if what == "video" else _MAX_IMAGE_BYTES,
        )

    def _has_native_list(self, deadline: Deadline) -> bool:
        reply = self.service.request(
            "GET",
            "models",
            attempt=_CHECK_KEY,
            deadline=deadline,
            params={"page_no": 1, "page_size": 1},
            retries=ONCE,
            accept=NOT_THERE,
        )
        return reply.ok and bool(parse(reply, ModelList, attempt=_CHECK_KEY))

    def _post(
        self,
        path: str,
        body: Mapping[str, object],
        *,
        deadline: Deadline,
        read_timeout: float,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        return self.service.request(
            "POST",
            f"services/aigc/{path}",
            attempt=GENERATE,
            deadline=deadline,
            json=body,
            headers=headers,
            read_timeout=read_timeout,
            retries=_retries(),
        )


def _retries() -> Retries:
    """The service sends no Retry-After: one to two seconds, then four to eight, randomised per call."""
    draw = random.SystemRandom().uniform
    return Retries(delays=(draw(1, 2), draw(4, 8)))
