"""
Human Input nodes: a decision that is given before the run takes the place of the person.

Outputs are those of Dify's `core/workflow/nodes/human_input/callback.py`: the fields of the form, and what was chosen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphon.nodes.human_input.entities import Completed, HITLContext, HITLDecision, PauseRequested
from graphon.runtime.runtime_state_protocol import ReadOnlyVariablePool
from graphon.variables.factory import build_segment
from graphon.variables.template_resolution import convert_template
from pydantic import BaseModel, JsonValue

type Decision = str | Mapping[str, JsonValue]
"""The id of an action, or a mapping with `action` and the fields of the form."""


class _Source(BaseModel):
    type: str = "constant"
    selector: Sequence[str] = ()
    value: str | Sequence[str] = ""


class _Field(BaseModel):
    output_variable_name: str
    default: _Source | None = None
    option_source: _Source | None = None


class _Action(BaseModel):
    id: str
    title: str


class _Form(BaseModel):
    title: str
    form_content: str = ""
    inputs: Sequence[_Field] = ()
    user_actions: Sequence[_Action] = ()


@dataclass(frozen=True)
class Person:
    """Answers one Human Input node (the engine's `HITLCallback`); without a decision the run pauses there."""

    form: _Form
    decision: Decision | None

    def __call__(self, context: HITLContext) -> HITLDecision:
        if self.decision is None:
            return PauseRequested(session_id=context.node_id)
        given = {"action": self.decision} if isinstance(self.decision, str) else dict(self.decision)
        action = self._action(given.pop("action", None))
        fields = {field.output_variable_name: _default(field, context.variable_pool) for field in self.form.inputs}
        if unknown := sorted(given.keys() - fields.keys()):
            msg = f"the form of {self.form.title} has no field {', '.join(unknown)}; it has: {', '.join(fields) or 'none'}"
            raise ValueError(msg)
        fields |= given
        content = convert_template(context.variable_pool, self.form.form_content).markdown
        for name, value in fields.items():
            content = content.replace(f"{{{{#$output.{name}#}}}}", str(value))
        told = {"__action_id": action.id, "__action_value": action.title, "__rendered_content": content}
        filled = {name: build_segment(value) for name, value in fields.items()}
        outputs = filled | {name: build_segment(value) for name, value in told.items()}
        return Completed(selected_handle=action.id, inputs=filled, outputs=outputs)

    def _action(self, wanted: JsonValue) -> _Action:
        for action in self.form.user_actions:
            if action.id == wanted:
                return action
        known = ", ".join(action.id for action in self.form.user_actions) or "none"
        msg = f"{self.form.title} has no action {wanted}; it has: {known}"
        raise ValueError(msg)


def person(data: Mapping[str, Any], decision: Decision | None) -> Person:
    """The stand-in of a node, from the node's data."""
    return Person(_Form.model_validate(data), decision)


def open_question(data: Mapping[str, Any]) -> str:
    """What a paused run waits for."""
    form = _Form.model_validate(data)
    choices = " or ".join(f"--decide {action.id}" for action in form.user_actions)
    return f"{form.title} waits for a person; {choices} decides in the person's place"


def _default(field: _Field, pool: ReadOnlyVariablePool) -> JsonValue:
    """What the form shows before anybody changes it: the default of a text field, the first option of a choice."""
    source = field.default or field.option_source or _Source()
    value: Any = source.value
    if source.type == "variable" and (found := pool.get(list(source.selector))) is not None:
        value = found.to_object()
    return value if isinstance(value, str) else next(iter(value), "")
