"""What the page does, without its components: schemas, runs, history, credentials. One per program."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from sandbox.doctor import doctor_lines, examined
from sandbox.host import Host
from sandbox.package import Package
from sandbox.parameters import ParameterError, Schema
from sandbox.playground.cards import cards
from sandbox.playground.credentials import CredentialStore
from sandbox.playground.exchange import blackened
from sandbox.playground.history import History
from sandbox.playground.jobs import MOST_CALLS, InputImage, Runner, plan
from sandbox.playground.masks import drawn
from sandbox.playground.texts import Language, text
from sandbox.playground.variants import variants

_TICK = 0.3  # seconds between two looks at the running jobs


class PageError(Exception):
    """What was asked on the page cannot be done; the message is for its reader."""


@dataclass(frozen=True)
class Playground:
    """The state and the actions behind the page."""

    host: Host
    package: Package
    credentials: CredentialStore
    history: History
    sleep: Callable[[float], None] = time.sleep

    @property
    def models(self) -> list[str]:
        return [*self.package.models, *self.credentials.current.models]

    @property
    def first_model(self) -> str:
        """The model that needs no service, where the plugin has it."""
        return "preview" if "preview" in self.models else self.models[0]

    def schemas(self, models: Sequence[str]) -> list[Schema]:
        """Raises ParameterError for a model that the plugin does not know, PluginError as the plugin."""
        return [self._schema(model) for model in models]

    def _schema(self, model: str) -> Schema:
        raw = self.host.model_schema(model, self.credentials.of(model))
        if raw is None:
            msg = f"the plugin has no model named {model}"
            raise ParameterError(msg)
        return Schema.model_validate(raw)

    def generate(
        self,
        models: Sequence[str],
        prompt: str,
        values: Mapping[str, JsonValue],
        images: Sequence[InputImage],
        language: Language,
    ) -> Iterator[str]:
        """
        Run every model with every variant of the prompt; the cards of all jobs, again whenever something may have changed.

        Raises:
            PageError: there is nothing to run, or too much.

        """
        prompts = variants(prompt or "")
        _refuse_bad_plan(len(prompts) * len(models), models, prompt, images, language)
        jobs = plan(self.schemas(models), prompts, dict(values))
        Runner(self.host, self.history.folder, self.credentials.of, self.history.add).start(jobs, images)
        while any(job.open for job in jobs):
            yield cards(jobs, language, self.credentials.secrets)
            self.sleep(_TICK)
        yield cards(jobs, language, self.credentials.secrets)

    def check(self) -> str:
        """The doctor's report on the credentials of the page."""
        findings = examined(self.host, self.package, self.credentials.current)
        return blackened("\n".join(doctor_lines(findings)), self.credentials.secrets)


def inputs(paths: Sequence[str] | None, editor: Mapping[str, Any] | None) -> list[InputImage]:
    """The images of a request: the drawn one with its mask first, then the uploaded ones."""
    uploaded = [InputImage(Path(path).name, Path(path).read_bytes()) for path in paths or ()]
    return [*drawn(editor), *uploaded]


def _refuse_bad_plan(
    count: int, models: Sequence[str], prompt: str, images: Sequence[InputImage], language: Language
) -> None:
    say = partial(text, language=language)
    if not models:
        raise PageError(say("no_model"))
    if not (prompt or "").strip() and not images:
        raise PageError(say("no_prompt"))
    if count > MOST_CALLS:
        raise PageError(say("too_many").format(count=count, most=MOST_CALLS))
