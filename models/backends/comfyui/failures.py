"""What a refusal of the validation or a failed node means for the user. Nothing here asks the server.

Every sentence names the node (id, class, title), keeps the server's words and says what to do (`refusals.yaml`), without
tracebacks and inputs, which show paths of the server and whole tensors. Reference: ComfyUI server API, "POST /prompt",
400, and "Errors while running".
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from models.backends.comfyui.client import INTERRUPTED, Accepted, NodeFaults, Refused, RunStatus, ValidationFault
from models.backends.comfyui.graph import Graph, Node, RawGraph, folder_of, package_of
from models.backends.errors import BadRequest, ImageError, ServerUnavailable
from models.backends.refusals import Fault, RefusalTable
from models.settings import Access

REFUSED = "ComfyUI refused the workflow"
FAILED = "Generating with ComfyUI failed"
TABLE = RefusalTable.beside(__file__)
_SHOWN_FAULTS = 3
_SHOWN_CHOICES = 12

type Choices = Callable[[str, str], Sequence[str]]
"""(node class, input name) → what the server offers there; empty when that is not known."""
type ParameterNames = Mapping[tuple[str, str], str]
"""(node id, input name) → the parameter that sets it, which users know better than the input."""


class DeletedFileError(ServerUnavailable):
    """The history names a file that the server made and no longer has."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        said = f"the server made {filename} and does not have it any more"
        super().__init__(FAILED, said, "Try again with another seed")


@dataclass(frozen=True, slots=True)
class _LocatedFault:
    node: Node
    fault: ValidationFault
    parameter: str

    @property
    def sentence(self) -> str:
        return f"{self.node.described}: {_words(self.fault)}"


def refusal(reply: Refused, raw: RawGraph, choices: Choices, parameters: ParameterNames) -> BadRequest:
    """The error for the graph `raw` that the validation refused."""
    graph = Graph.of(raw)
    if missing := _missing_class(reply.error, graph):
        install = f"Install {package_of(missing.class_type) or 'the extension that brings it'}"
        next_step = f"{install} on the ComfyUI server (ComfyUI-Manager, Install Missing Custom Nodes) and restart it"
        return BadRequest(REFUSED, f"the server does not have {missing.described}", next_step)
    faults = _located(reply.node_errors, graph, parameters)
    if not faults:
        return BadRequest(REFUSED, _words(reply.error), _table_advice(reply.error))
    said = "; ".join(fault.sentence for fault in faults[:_SHOWN_FAULTS])
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    return BadRequest(REFUSED, said + more, _advice(faults[0], choices))


def dropped_outputs(reply: Accepted, raw: RawGraph) -> list[str]:
    """Notices about the parts of the graph that the server left out although it accepted the rest."""
    faults = _located(reply.node_errors, Graph.of(raw), {})
    return [f"The server left out a part of the workflow: {fault.sentence}" for fault in faults]


def failed_run(status: RunStatus, raw: RawGraph) -> ImageError:
    error = status.error
    node = Graph.of(raw).nodes.get(error.node_id) or Node(error.node_id, error.node_type, {})
    where = node.described if error.node_id else "the job"
    if status.last == INTERRUPTED:
        next_step = "Run it again if nobody meant to stop it"
        return ServerUnavailable(FAILED, f"interrupted on the server at {where}", next_step)
    said = f"{where}: {error.exception_message.strip() or error.exception_type or 'failed without a message'}"
    meaning = TABLE.explain(Fault(said=said, codes=(error.exception_type, "failed_run")), Access())
    return meaning.error(FAILED, said, meaning.next_step)


def _located(faults: Mapping[str, NodeFaults], graph: Graph, parameters: ParameterNames) -> list[_LocatedFault]:
    return [
        _LocatedFault(
            node=graph.nodes.get(node_id) or Node(node_id, node.class_type, {}),
            fault=fault,
            parameter=parameters.get((node_id, fault.extra_info.input_name), fault.extra_info.input_name),
        )
        for node_id, node in faults.items()
        for fault in node.errors
    ]


def _words(fault: ValidationFault) -> str:
    return f"{fault.message}: {fault.details}" if fault.details else fault.message


_NODE_ID = re.compile(r"#(.+?)'?$")


def _missing_class(fault: ValidationFault, graph: Graph) -> Node | None:
    """The node whose class the server lacks, if the refusal is about one; the id stands in `Node ID '#x'`."""
    if fault.type not in {"invalid_prompt", "missing_node_type"}:
        return None
    found = _NODE_ID.search(fault.details)
    return graph.nodes.get(fault.extra_info.node_id or (found[1] if found else ""))


def _advice(located: _LocatedFault, choices: Choices) -> str:
    fault = located.fault
    if fault.type != "value_not_in_list":
        return _table_advice(fault, located.parameter)
    return _choose(located, _offered(fault) or choices(located.node.class_type, fault.extra_info.input_name))


def _table_advice(fault: ValidationFault, parameter: str = "") -> str:
    refused = Fault(said=_words(fault), codes=(fault.type, "refused_workflow"))
    return TABLE.explain(refused, Access(), input=fault.extra_info.input_name, parameter=parameter).next_step


def _offered(fault: ValidationFault) -> Sequence[str]:
    match fault.extra_info.input_config:
        case [list(options), *_] | [str(), {"options": list(options)}, *_]:
            return [str(option) for option in options]
        case _:
            return ()


def _choose(located: _LocatedFault, offered: Sequence[str]) -> str:
    name, asked = located.fault.extra_info.input_name, str(located.fault.extra_info.received_value)
    folder = folder_of(located.node.class_type, name)
    if not offered:
        return f"Put the file into `models/{folder}` on the server" if folder else _table_advice(located.fault)
    choose = f"Choose one of those on the server for `{located.parameter}`: {_listed(asked, offered)}"
    return f"{choose}; or put {asked} into its `models/{folder}`" if folder else choose


def _listed(asked: str, offered: Sequence[str]) -> str:
    """The most similar ones first, and at most a dozen."""
    near = difflib.get_close_matches(asked, offered, n=_SHOWN_CHOICES, cutoff=0.5)
    shown = [*near, *(name for name in offered if name not in near)][:_SHOWN_CHOICES]
    return ", ".join(shown) + (f" … ({len(offered)} in all)" if len(offered) > len(shown) else "")
