"""Builds the engine's nodes with local replacements for Dify's services."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, override

from graphon.dsl import node_factory as engine
from graphon.enums import BuiltinNodeTypes
from graphon.file.file_manager import file_manager
from graphon.model_runtime.entities.llm_entities import LLMPollingConfig
from graphon.nodes.code.code_node import CodeNode
from graphon.nodes.code.entities import CodeNodeData
from graphon.nodes.http_request.config import build_http_request_config
from graphon.nodes.http_request.entities import HttpRequestNodeData
from graphon.nodes.http_request.node import HttpRequestNode, HttpRequestNodeDependencies
from graphon.nodes.human_input.entities import HumanInputNodeData
from graphon.nodes.human_input.human_input_node import HumanInputNode
from graphon.nodes.llm import LLMNode, LLMNodeData
from graphon.nodes.llm.runtime_protocols import LLMProtocol

from sandbox.code_runner import code_executor
from sandbox.conversation import Conversation
from sandbox.credentials import Credentials
from sandbox.files import FileStore, HostHttpClient, file_saver
from sandbox.host import Host
from sandbox.human_input import person
from sandbox.local_llm import Answer, LocalModel, Script
from sandbox.model_adapter import plugin_model
from sandbox.parameters import Schema

_NO_IMAGE_MODELS = frozenset({"contact-sheet"})  # they work on images that another node made

type Request = engine._NodeBuildRequest  # noqa: SLF001 - the engine's factory is extended, not copied


@dataclass(frozen=True, kw_only=True)
class Services:
    """
    The services that nodes use.

    Args:
        host: the plugin, for LLM nodes of its provider.
        store: files.
        credentials: what the host has stored for the plugin's provider and models.
        script: answers of the local language model and of the person at Human Input nodes, by node id or title.
        decision: the action that the person chooses at every Human Input node that the script does not name.
        polling: the engine's limits for polling; by default checks every 1 to 30 s.
        conversation: earlier turns of a chatflow.
        model_name: takes the place of the plugin's image models that the nodes name.

    """

    host: Host
    store: FileStore
    credentials: Credentials = field(default_factory=Credentials)
    script: Script = field(default_factory=dict)
    decision: str | None = None
    polling: LLMPollingConfig = field(default_factory=LLMPollingConfig)
    conversation: Conversation = field(default_factory=Conversation)
    model_name: str | None = None

    def model(self, node_id: str, data: Mapping[str, Any]) -> LLMProtocol:
        """The model of a node: the plugin's, or the local model for every other provider."""
        settings = data["model"]
        provider, name = settings["provider"], settings["name"]
        parameters = settings.get("completion_params") or {}
        if provider == self.host.provider:
            return self._plugin_model(provider, name, parameters)
        return LocalModel(provider=provider, model_name=name, parameters=parameters, answer=self.answer(node_id, data))

    def answer(self, node_id: str, data: Mapping[str, Any]) -> Answer | None:
        """What the script says at a node."""
        return self.script.get(node_id, self.script.get(str(data.get("title"))))

    def runs(self, name: str) -> str:
        """The model that runs where a node names this one."""
        return name if name in _NO_IMAGE_MODELS or self.model_name is None else self.model_name

    def _plugin_model(self, provider: str, named: str, parameters: Mapping[str, Any]) -> LLMProtocol:
        name = self.runs(named)
        model = plugin_model(self.host, provider, name, parameters, self.credentials.of(name), self.polling)
        if name == named:
            return model
        rules = Schema.model_validate(model.schema.model_dump(mode="json"))
        return replace(model, parameters=rules.fitting(parameters))


@dataclass
class NodeFactory(engine.SlimDslNodeFactory):
    """The engine's factory for imported apps, without its plugin runner and its sandbox service."""

    services: Services

    @override
    def _resolve_slim_llm_settings(
        self, *, node_id: str, data: Mapping[str, Any], node_type_label: str
    ) -> tuple[dict[str, Any], str, str, dict[str, Any]]:
        """There are no dependencies to resolve: the host is the only plugin."""
        model = dict(data.get("model") or {})
        return {**data, "model": model}, str(model.get("provider")), "", {}

    @override
    def _create_slim_llm_runtime(  # type: ignore[override]  # any model of the protocol serves the nodes
        self, *, node_id: str, data: Mapping[str, Any], node_type_label: str
    ) -> tuple[dict[str, Any], LLMProtocol]:
        return dict(data), self.services.model(node_id, data)

    @override
    def _create_llm_node(self, request: Request) -> LLMNode:
        return LLMNode(
            node_id=request.node_id,
            data=LLMNodeData.model_validate(request.data_payload),
            init_params=self.init_params,
            runtime_state=self.runtime_state,
            model_instance=self.services.model(request.node_id, request.data_payload),
            memory=self.services.conversation,
            llm_file_saver=file_saver(self.services.store),
            prompt_message_serializer=engine._PassthroughPromptMessageSerializer(),  # noqa: SLF001
            jinja2_template_renderer=engine._DefaultJinja2TemplateRenderer(),  # noqa: SLF001
            default_query_selector=("sys", "query"),
        )

    @override
    def _create_code_node(self, request: Request) -> CodeNode:
        return CodeNode(
            node_id=request.node_id,
            data=CodeNodeData.model_validate(request.data_payload),
            init_params=self.init_params,
            runtime_state=self.runtime_state,
            code_executor=code_executor(),
            code_limits=engine._code_limits(self.credentials.code),  # noqa: SLF001
        )

    @override
    def _create_http_request_node(self, request: Request) -> HttpRequestNode:
        return HttpRequestNode(
            node_id=request.node_id,
            data=HttpRequestNodeData.model_validate(request.data_payload),
            init_params=self.init_params,
            runtime_state=self.runtime_state,
            http_request_config=build_http_request_config(),
            dependencies=HttpRequestNodeDependencies(
                tool_file_manager_factory=lambda: self.services.store,
                file_manager=file_manager,
                file_reference_factory=self.services.store,
                http_client=HostHttpClient(self.services.store),
            ),
        )

    def _create_human_input_node(self, request: Request) -> HumanInputNode:
        decision = self.services.answer(request.node_id, request.data_payload) or self.services.decision
        return HumanInputNode(
            node_id=request.node_id,
            data=HumanInputNodeData.model_validate(request.data_payload),
            init_params=self.init_params,
            runtime_state=self.runtime_state,
            hitl_callback=person(request.data_payload, decision),
        )

    NODE_BUILDERS: ClassVar[Mapping[Any, Any]] = {
        **engine.SlimDslNodeFactory.NODE_BUILDERS,
        BuiltinNodeTypes.LLM: _create_llm_node,
        BuiltinNodeTypes.CODE: _create_code_node,
        BuiltinNodeTypes.HTTP_REQUEST: _create_http_request_node,
        BuiltinNodeTypes.HUMAN_INPUT: _create_human_input_node,
    }
