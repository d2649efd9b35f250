"""Apps on Dify's engine, with the plugin process for their LLM nodes."""

import json
from pathlib import Path

import pytest
from graphon.model_runtime.entities.llm_entities import LLMPollingConfig

from sandbox import Host
from sandbox.files import FileStore
from sandbox.inputs import InputError
from sandbox.node_factory import Services
from sandbox.protocol import JsonObject
from sandbox.workflow import WorkflowError, run_workflow
from tests.sandbox.apps import OTHER_PROVIDER, answer, app, code, end, llm, start, variable

QUICK = LLMPollingConfig(min_check_interval_seconds=0.01, max_check_interval_seconds=0.01, wake_interval_seconds=0.01)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def services(host: Host, tmp_path: Path) -> Services:
    return Services(host=host, store=FileStore(tmp_path / "out"), polling=QUICK)


def test_an_image_is_saved_and_linked_in_the_text(services: Services) -> None:
    dsl = app(
        "start -> llm",
        "llm -> end",
        start=start(variable("prompt")),
        llm=llm("{{#start.prompt#}}"),
        end=end(text=["llm", "text"], files=["llm", "files"]),
    )
    run = run_workflow(dsl, {"prompt": "a cat\n"}, services)
    assert (run.status, run.error) == ("succeeded", "")
    assert [path.read_bytes()[:8] for path in run.files] == [PNG]
    text, link = run.outputs["text"].split("![](")
    assert text == "a cat\n"
    assert link.startswith("http://localhost/files/tools/")
    assert services.store.path_of_link(link.removesuffix(")")) == run.files[0]
    assert [services.store.path_of(file) for file in run.outputs["files"]] == [*run.files]


def test_a_polling_model_is_started_and_checked(services: Services) -> None:
    dsl = app("start -> llm", "llm -> end", start=start(), llm=llm("a dog", model="job"), end=end(text=["llm", "text"]))
    run = run_workflow(dsl, {}, services)
    assert run.outputs["text"].startswith("painted by [")
    assert (run.node("llm").checks, len(run.files)) == (2, 1)


def test_structured_output_of_a_polling_model_is_selectable(services: Services) -> None:
    schema: JsonObject = {"type": "object", "properties": {"seed": {"type": "integer"}, "prompt": {"type": "string"}}}
    dsl = app(
        "start -> llm",
        "llm -> end",
        start=start(),
        llm=llm(
            "a dog",
            model="job",
            parameters={"seed": 7},
            structured_output_enabled=True,
            structured_output={"schema": schema},
        ),
        end=end(seed=["llm", "structured_output", "seed"], files=["llm", "files"]),
    )
    run = run_workflow(dsl, {}, services)
    assert (run.status, run.outputs["seed"], len(run.outputs["files"])) == ("succeeded", 7, 1)


def structured(prompt: str) -> str:
    schema: JsonObject = {"type": "object", "properties": {"prompt": {"type": "string"}}}
    node = llm(prompt, structured_output_enabled=True, structured_output={"schema": schema})
    outputs = end(prompt=["llm", "structured_output", "prompt"], files=["llm", "files"], text=["llm", "text"])
    return app("start -> llm", "llm -> end", start=start(), llm=node, end=outputs)


def test_structured_output_of_a_streaming_model_comes_with_its_images(services: Services) -> None:
    run = run_workflow(structured("a dog"), {}, services)
    assert (run.status, run.outputs["prompt"], len(run.outputs["files"])) == ("succeeded", "a dog", 1)
    assert run.outputs["text"].startswith('{"prompt": "a dog"}\n\n![](')


def test_text_that_is_not_json_fails_structured_output(services: Services) -> None:
    run = run_workflow(structured("not JSON"), {}, services)
    assert run.status == "failed"
    assert "Failed to parse structured output" in run.error


def test_workflow_variables_set_parameters(services: Services) -> None:
    """The engine reads resolved parameters as JSON: text `42` arrives as a number."""
    dsl = app(
        "start -> llm",
        "llm -> end",
        start=start(variable("seed")),
        llm=llm("a", parameters={"seed": "{{#start.seed#}}", "act": "echo"}),
        end=end(text=["llm", "text"]),
    )
    assert '"seed": 42' in run_workflow(dsl, {"seed": "42"}, services).outputs["text"]


def test_the_message_of_a_failed_job_fails_the_node_and_the_run(services: Services) -> None:
    dsl = app(
        "start -> llm",
        "llm -> end",
        start=start(),
        llm=llm("too rude", model="job", parameters={"act": "refuse"}),
        end=end(text=["llm", "text"]),
    )
    run = run_workflow(dsl, {}, services)
    assert (run.status, run.error) == ("failed", "refused: too rude")
    assert (run.node("llm").status, run.node("llm").error) == ("failed", "refused: too rude")


def test_a_fail_branch_continues_with_the_error_message(services: Services) -> None:
    dsl = app(
        "start -> llm",
        "llm -> good",
        "llm[fail-branch] -> bad",
        start=start(),
        llm=llm("too rude", parameters={"act": "refuse"}, error_strategy="fail-branch"),
        good=end(text=["llm", "text"]),
        bad=end(error=["llm", "error_message"], kind=["llm", "error_type"]),
    )
    run = run_workflow(dsl, {}, services)
    assert run.status == "partial-succeeded"
    assert run.outputs["error"].endswith("too rude")
    assert run.outputs["kind"] == "InvokeBadRequestError"
    assert run.node("llm").status == "exception"


def test_a_crash_of_the_plugin_fails_the_node_with_its_stderr(services: Services) -> None:
    dsl = app("start -> llm", "llm -> end", start=start(), llm=llm("a", parameters={"act": "crash"}), end=end())
    run = run_workflow(dsl, {}, services)
    assert run.status == "failed"
    assert "the last words" in run.error


def test_a_code_node_extracts_the_link_and_an_http_node_downloads_the_file(services: Services) -> None:
    dsl = app(
        "start -> llm",
        "llm -> code",
        "code -> http",
        "http -> end",
        start=start(),
        llm=llm("a cat"),
        code=code(
            "import re\ndef main(text):\n    return {'url': re.search(r'\\((.*)\\)', text)[1]}",
            {"text": ["llm", "text"]},
            {"url": "string"},
        ),
        http={
            "type": "http-request",
            "method": "get",
            "url": "{{#code.url#}}",
            "authorization": {"type": "no-auth", "config": None},
            "headers": "",
            "params": "",
            "body": {"type": "none", "data": []},
        },
        end=end(status=["http", "status_code"], files=["http", "files"]),
    )
    run = run_workflow(dsl, {}, services)
    assert (run.status, run.error, run.outputs["status"]) == ("succeeded", "", 200)
    (fetched,) = run.outputs["files"]
    assert services.store.path_of(fetched).read_bytes() == run.files[0].read_bytes()


def test_broken_code_fails_its_node_with_the_traceback(services: Services) -> None:
    dsl = app(
        "start -> code", "code -> end", start=start(), code=code("def main():\n    return 1 / 0", {}, {}), end=end()
    )
    run = run_workflow(dsl, {}, services)
    assert run.status == "failed"
    assert "ZeroDivisionError" in run.error


def test_an_iteration_generates_one_image_per_item(services: Services) -> None:
    inside: JsonObject = {"isInIteration": True, "iteration_id": "each"}
    dsl = app(
        "start -> split",
        "split -> each",
        "first -> llm",
        "each -> end",
        start=start(variable("prompts")),
        split=code(
            "def main(text):\n    return {'items': text.split(',')}",
            {"text": ["start", "prompts"]},
            {"items": "array[string]"},
        ),
        each={
            "type": "iteration",
            "start_node_id": "first",
            "iterator_selector": ["split", "items"],
            "output_selector": ["llm", "text"],
            "output_type": "array[string]",
        },
        first={"type": "iteration-start", **inside},
        llm=llm("{{#each.item#}}\n") | inside,
        end=end(texts=["each", "output"]),
    )
    run = run_workflow(dsl, {"prompts": "red,green,blue"}, services)
    assert (run.status, run.error) == ("succeeded", "")
    assert [text.split("\n")[0] for text in run.outputs["texts"]] == ["red", "green", "blue"]
    assert len(run.files) == 3
    assert [node.status for node in run.nodes if node.id == "llm"] == ["succeeded"] * 3


def test_if_else_template_and_list_operator_nodes_run(services: Services) -> None:
    condition: JsonObject = {"variable_selector": ["start", "size"], "comparison_operator": "contains", "value": "big"}
    dsl = app(
        "start -> choose",
        "choose[big] -> template",
        "choose[false] -> small",
        "template -> llm",
        "llm -> pick",
        "pick -> end",
        start=start(variable("size")),
        choose={
            "type": "if-else",
            "cases": [{"case_id": "big", "logical_operator": "and", "conditions": [condition]}],
        },
        template={
            "type": "template-transform",
            "template": "a {{ size | upper }} cat\n",
            "variables": [{"variable": "size", "value_selector": ["start", "size"]}],
        },
        llm=llm("{{#template.output#}}"),
        pick={
            "type": "list-operator",
            "variable": ["llm", "files"],
            "filter_by": {"enabled": False, "conditions": []},
            "order_by": {"enabled": False},
            "limit": {"enabled": True, "size": 1},
        },
        small=end(text=["start", "size"]),
        end=end(text=["llm", "text"], name=["pick", "first_record", "name"]),
    )
    run = run_workflow(dsl, {"size": "big"}, services)
    assert (run.status, run.error) == ("succeeded", "")
    assert run.outputs["text"].startswith("a BIG cat")
    assert run.outputs["name"] == run.files[0].name
    assert run_workflow(dsl, {"size": "tiny"}, services).outputs == {"text": "tiny"}


def test_an_image_of_the_start_node_reaches_the_model(services: Services, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    dsl = app(
        "start -> llm",
        "llm -> end",
        start=start(variable("img", "file", allowed_file_types=["image"])),
        llm=llm(
            "paint it",
            parameters={"act": "echo"},
            vision={"enabled": True, "configs": {"variable_selector": ["start", "img"], "detail": "high"}},
        ),
        end=end(text=["llm", "text"]),
    )
    run = run_workflow(dsl, {"img": photo}, services)
    assert '"filename": "photo.png"' in run.outputs["text"]
    assert '"base64_data": "iVBORw0KGgo="' in run.outputs["text"]


def test_a_host_in_link_mode_sends_a_signed_link(host: Host, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)
    services = Services(host=host, store=FileStore(tmp_path / "out", send_format="url"))
    dsl = app(
        "start -> llm",
        "llm -> end",
        start=start(variable("img", "file", allowed_file_types=["image"])),
        llm=llm(
            "paint it",
            parameters={"act": "echo"},
            vision={"enabled": True, "configs": {"variable_selector": ["start", "img"], "detail": "high"}},
        ),
        end=end(text=["llm", "text"]),
    )
    assert '"url": "http://localhost/files/' in run_workflow(dsl, {"img": photo}, services).outputs["text"]


def test_a_chatflow_answers_the_query_with_text_and_image(services: Services) -> None:
    dsl = app(
        "start -> llm",
        "llm -> answer",
        mode="advanced-chat",
        start=start(),
        llm=llm("{{#sys.query#}}\n"),
        answer=answer("Here: {{#llm.text#}}"),
    )
    run = run_workflow(dsl, {}, services, query="a fox")
    assert run.outputs["answer"].startswith("Here: a fox\n![](http://localhost/files/tools/")
    assert len(run.files) == 1


def test_a_chatflow_remembers_earlier_turns_with_their_images(services: Services) -> None:
    memory: JsonObject = {"window": {"enabled": True, "size": 1}, "query_prompt_template": "{{#sys.query#}}"}
    paint = llm("Paint.", memory=memory)
    echo = llm("Paint.", memory=memory, parameters={"act": "echo"})
    for query, node in (("forgotten", paint), ("a red fox", paint)):
        dsl = app("start -> llm", "llm -> answer", mode="advanced-chat", start=start(), llm=node, answer=answer("done"))
        run_workflow(dsl, {}, services, query=query)
    dsl = app("start -> llm", "llm -> a", mode="advanced-chat", start=start(), llm=echo, a=answer("{{#llm.text#}}"))
    messages = json.loads(run_workflow(dsl, {}, services, query="now blue").outputs["answer"])["messages"]
    assert [message["role"] for message in messages] == ["user", "user", "assistant", "user"]
    assert [messages[index]["content"] for index in (0, 1, 3)] == ["Paint.", "a red fox", "now blue"]
    assert [part["type"] for part in messages[2]["content"]] == ["image", "text"]


def test_another_providers_node_uses_the_labelled_local_model(services: Services) -> None:
    dsl = app(
        "start -> enhance",
        "enhance -> llm",
        "llm -> end",
        start=start(variable("prompt")),
        enhance=llm("  {{#start.prompt#}}  ", model="gpt-4o", provider=OTHER_PROVIDER),
        llm=llm("{{#enhance.text#}}\n"),
        end=end(text=["llm", "text"]),
    )
    run = run_workflow(dsl, {"prompt": "a cat"}, services)
    assert run.outputs["text"].startswith("a cat\n")
    assert run.node("enhance").model == "gpt-4o (local model)"
    assert run.node("llm").model == "painter"


def test_the_local_model_returns_the_scripted_answer(host: Host, tmp_path: Path) -> None:
    services = Services(host=host, store=FileStore(tmp_path), script={"enhance": "a cat, oil on canvas"})
    dsl = app(
        "start -> enhance",
        "enhance -> end",
        start=start(),
        enhance=llm("a cat", model="gpt-4o", provider=OTHER_PROVIDER),
        end=end(text=["enhance", "text"]),
    )
    assert run_workflow(dsl, {}, services).outputs == {"text": "a cat, oil on canvas"}


def test_the_local_model_fills_a_schema(services: Services) -> None:
    schema: JsonObject = {
        "type": "object",
        "properties": {
            "prompt": {"type": "string"},
            "ratio": {"type": "string", "enum": ["16:9", "1:1"]},
            "n": {"type": "integer", "minimum": 1},
        },
        "required": ["prompt", "ratio", "n"],
    }
    dsl = app(
        "start -> enhance",
        "enhance -> end",
        start=start(),
        enhance=llm(
            "a cat",
            model="gpt-4o",
            provider=OTHER_PROVIDER,
            structured_output_enabled=True,
            structured_output={"schema": schema},
        ),
        end=end(all=["enhance", "structured_output"]),
    )
    assert run_workflow(dsl, {}, services).outputs == {"all": {"prompt": "a cat", "ratio": "16:9", "n": 1}}


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, "prompt is required"),
        ({"prompt": "a", "ratio": "5:1"}, "must be one of the following: 1:1, 16:9"),
        ({"prompt": "a" * 11}, "less than 10 characters"),
        ({"prompt": "a", "colour": "red"}, "no input named colour; it has: prompt, ratio, img"),
        ({"prompt": "a", "img": "photo.png"}, "-i name=@path"),
        ({"prompt": "a", "img": Path("missing.png")}, "file not found: missing.png"),
    ],
)
def test_inputs_are_validated_as_in_difys_start_form(
    services: Services, inputs: dict[str, object], complaint: str
) -> None:
    dsl = app(
        "start -> end",
        start=start(
            variable("prompt", max_length=10),
            variable("ratio", "select", options=["1:1", "16:9"], default="1:1"),
            variable("img", "file", required=False),
        ),
        end=end(),
    )
    with pytest.raises(InputError, match=complaint):
        run_workflow(dsl, inputs, services)


@pytest.mark.parametrize(
    ("dsl", "complaint"),
    [
        ("[", "Invalid YAML"),
        ("kind: app\napp: {mode: chat}", "inspect-only"),
        (app(start=start(), kb={"type": "knowledge-retrieval"}), "knowledge-retrieval"),
        (app(end=end()), "exactly one start node"),
        (app("start -> llm", start=start(), llm=llm("a", model="nobody")), "no model named 'nobody'"),
    ],
)
def test_an_unsupported_app_is_refused_with_the_reason(services: Services, dsl: str, complaint: str) -> None:
    with pytest.raises(WorkflowError, match=complaint):
        run_workflow(dsl, {}, services)
