"""Gray release: a model with a second workflow, which serves a share of the requests.

The same end user always gets the same version, and a larger share only adds users. The parameter form is that of the
first workflow; where a request leaves a parameter at the form's default, the second workflow keeps its own value.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from models.backends.comfyui.graph import Workflow
from models.backends.comfyui.state import Version
from models.backends.errors import BadRequest
from models.entities import ImageRequest, ParameterValue
from models.parameters import Rule, read_value
from models.settings import Access
from models.sizes import written

_SAME_FOR_BOTH = frozenset(
    {
        *("prompt", "width", "height", "aspect_ratio", "seed", "n", "timeout", "details", "output_format"),
        *("output_quality", "draft", "embed_workflow", "priority"),
    }
)
"""Parameters that mean the same for every workflow, or whose use a workflow tells by itself."""
_FIELDS = frozenset(field.name for field in fields(ImageRequest))


def read_percent(access: Access) -> float:
    """The share of requests for the second workflow, in percent. Raises BadRequest for what is none."""
    text = access.canary_percent.removesuffix("%").strip() or "0"
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:  # noqa: PLR2004
        raise BadRequest(
            f"{access.canary_percent!r} is not a share of requests",
            next_step=f"Write a number from 0 to 100 into {access.where('canary_percent')}",
        )
    return percent


def version_for(model: str, user: str, percent: float) -> Version:
    digest = hashlib.sha256(f"{model}\0{user}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64  # from 0 to 1, evenly spread over the users
    return "canary" if place * 100 < percent else "main"


def takes_inputs(workflow: Workflow, request: ImageRequest) -> bool:
    """Whether the workflow takes the images, the mask and the seed of a request that was settled for another one."""
    seed_fits = request.seed is None or request.seed <= workflow.seeds.highest
    mask_fits = request.mask is None or workflow.takes_mask
    return workflow.min_images <= len(request.images) <= workflow.images and mask_fits and seed_fits


@dataclass(frozen=True, slots=True)
class Translation:
    """A request that was settled for the workflow `main`, made one for the workflow `second`."""

    main: Workflow
    second: Workflow

    def of(self, request: ImageRequest) -> ImageRequest:
        """A value that the second workflow cannot take is left out, with a notice."""
        reasons = dict(self._left_out(request))
        changes: dict[str, Any] = {
            name: "" if name == "negative_prompt" else None for name in reasons if name in _FIELDS
        }
        told = [f"The second workflow did not use `{name}`: {reason}" for name, reason in reasons.items() if reason]
        if request.size and request.size == self.main.sizes.default:
            changes |= {"width": None, "height": None}
            own = self.second.sizes.default or request.size
            told += [f"The second workflow's own size applies: {written(own)}"] if own != request.size else []
        extra = {name: value for name, value in request.extra.items() if name not in reasons}
        return replace(request, extra=extra, **changes).with_notices(*told)

    def _left_out(self, request: ImageRequest) -> Iterator[tuple[str, str]]:
        """The parameters that the second workflow does not get, and why; "" for a default of the form."""
        theirs = {rule.name: rule for rule in self.second.rules()}
        for rule in self.main.rules():
            value = _value(request, rule)
            if value is not None:
                reason = "" if value == rule.default else _unfit(theirs.get(rule.name), value)
                if reason or value == rule.default:
                    yield rule.name, reason


def _value(request: ImageRequest, rule: Rule) -> ParameterValue | None:
    """The value of a parameter that the two workflows may understand differently; None where it is not set."""
    if rule.name in _SAME_FOR_BOTH:
        return None
    value: ParameterValue | None = request.extra.get(rule.name, getattr(request, rule.name, None))
    return None if value == "" else value


def _unfit(rule: Rule | None, value: ParameterValue) -> str:
    """Why a workflow with this rule cannot take the value; empty where it can."""
    if rule is None:
        return "it has no such parameter"
    try:
        read_value(rule, value)
    except BadRequest as error:
        return f"{value!r} is not a value of its own ({error.next_step})"
    return ""
