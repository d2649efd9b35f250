"""The state of a job as plain JSON: all that another process needs to continue it."""

import copy
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

from models.backends.affinity import Cookies
from models.backends.base import Job
from models.backends.comfyui.graph import RawGraph

type Version = Literal["main", "canary"]
"""Which workflow of a model with two a job runs: that of `workflow` or that of `canary_workflow`."""
type Change = tuple[str, str, JsonValue]
"""(node id, input name, value): how a submission's graph differs from that of the first one."""


class Submission(BaseModel):
    """One graph in the queue. `tries` counts how often it was submitted; `seed` is None for a graph without one. `missing`:
    the last look found it neither in the queue nor in the history."""

    model_config = ConfigDict(extra="forbid")

    prompt_id: str
    seed: int | None = None
    changes: tuple[Change, ...] = ()
    tries: int = 1
    missing: bool = False


class JobState(BaseModel):
    """One request, without secrets and images.

    All submissions share one client id, so that one socket receives all their events. The graph is stored because a
    restarted server loses it; the other submissions differ from the first in few values. `server` is the place of the
    job's address in the form's list; `cookies` keep it at one worker behind a balancer. `front`: it goes before all that
    wait. `version` is the workflow that it came from, where a model has two.
    """

    model_config = ConfigDict(extra="forbid")

    client_id: str
    graph: RawGraph
    submissions: list[Submission]
    prompt: str
    notices: list[str] = []
    keep_workflow: bool = False
    server: int = 0
    cookies: Cookies = {}
    front: bool = False
    version: Version = "main"

    @classmethod
    def of(cls, graphs: Sequence[tuple[RawGraph, int | None]], *, prompt: str, keep_workflow: bool) -> Self:
        """A job of one submission per (graph, seed), with fresh ids and without the secrets in the graphs."""
        bare = [changed(graph, [(node, name, "") for node, name, _ in secrets_of(graph)]) for graph, _ in graphs]
        submissions = [
            Submission(prompt_id=str(uuid.uuid4()), seed=seed, changes=tuple(_changes(bare[0], graph)))
            for graph, (_, seed) in zip(bare, graphs, strict=True)
        ]
        return cls(
            client_id=str(uuid.uuid4()),
            graph=bare[0],
            submissions=submissions,
            prompt=prompt,
            keep_workflow=keep_workflow,
        )

    @classmethod
    def load(cls, job: Job) -> Self:
        return cls.model_validate(job)

    def dump(self) -> Job:
        return self.model_dump(mode="json")

    def graph_of(self, submission: Submission) -> RawGraph:
        return changed(self.graph, submission.changes)

    @property
    def ids(self) -> list[str]:
        return [submission.prompt_id for submission in self.submissions]

    def add_notices(self, *notices: str) -> None:
        self.notices.extend(notice for notice in dict.fromkeys(notices) if notice not in self.notices)


_SECRET = re.compile(r"api_?key|password|secret|(?<!max_)(?<!new_)token$", re.IGNORECASE)


def secrets_of(graph: RawGraph) -> list[Change]:
    """Keys and passwords in a workflow's inputs, which some extensions need."""
    return [
        (node, name, value)
        for node in graph
        for name, value in _inputs(graph, node).items()
        if _SECRET.search(name) and isinstance(value, str) and value
    ]


def changed(graph: RawGraph, changes: Iterable[Change]) -> RawGraph:
    """A copy with some inputs set; changes of nodes that do not exist are ignored."""
    copied = copy.deepcopy(graph)
    for node, name, value in changes:
        if node in copied:
            _inputs(copied, node)[name] = value
    return copied


def renamed(graph: RawGraph, mark: str) -> list[Change]:
    """The changes that make every saving node write new files and leave the rest of the graph cached."""
    return [
        (node, "filename_prefix", f"{prefix}-{mark}")
        for node in graph
        if isinstance(prefix := _inputs(graph, node).get("filename_prefix"), str)
    ]


def _changes(first: RawGraph, other: RawGraph) -> list[Change]:
    return [
        (node, name, value)
        for node in other
        for name, value in _inputs(other, node).items()
        if _inputs(first, node).get(name) != value
    ]


def _inputs(graph: RawGraph, node: str) -> dict[str, JsonValue]:
    inputs = graph[node]["inputs"]
    assert isinstance(inputs, dict)  # noqa: S101 -- reading a workflow gives every node its inputs
    return inputs
