from decimal import Decimal
from pathlib import Path

from PIL import Image

from sandbox.call_report import call_lines, describe
from sandbox.host import CallStatistics
from sandbox.protocol import Usage
from sandbox.report import workflow_report
from sandbox.workflow import NodeRun, WorkflowRun

CALL = CallStatistics(
    action="invoke_llm",
    process=0,
    seconds=1.5,
    seconds_to_first_line=1.4,
    request_line=100,
    largest_line=2048,
    lines=2,
    backwards_calls=(),
)
USAGE = Usage.model_validate(
    dict.fromkeys(Usage.model_fields, 0) | {"total_price": Decimal("0.0350"), "currency": "USD"}
)


def test_a_call_reports_text_seeds_price_and_time() -> None:
    text = '{"seed": 7, "images": [{"seed": 7}, {"seed": 8}]}\n'
    assert [*call_lines(text, [], USAGE, [CALL, CALL])] == [
        f"text: {text.strip()}",
        "seed: 7",
        "seed: 8",
        "price: 0.035 USD",
        "time: 3.00 s in 2 call(s), largest line 2.0 KiB",
    ]


def test_a_run_reports_prices_by_currency_and_seeds() -> None:
    nodes = [
        NodeRun(id="a", title="A", type="llm", status="succeeded", price=Decimal("0.2"), currency="CNY"),
        NodeRun(id="b", title="B", type="llm", status="succeeded", price=Decimal("0.1"), currency="CNY"),
        NodeRun(id="c", title="C", type="llm", status="succeeded", outputs={"structured_output": {"seed": 3}}),
    ]
    lines = workflow_report(WorkflowRun(status="succeeded", nodes=nodes)).splitlines()
    assert lines[-2:] == ["seed: 3", "price: 0.3 CNY"]


def test_a_run_reports_what_a_reader_sees() -> None:
    nodes = [NodeRun(id="a", title="A", type="llm", status="succeeded", outputs={"text": "![](x)"})]
    assert "shown to the reader: ![](x)" in workflow_report(WorkflowRun(nodes=nodes, streamed="![](x)\n"))
    assert "shown to the reader: nothing" in workflow_report(WorkflowRun(nodes=nodes))


def test_long_text_is_truncated_with_its_length(tmp_path: Path) -> None:
    (line, *_) = call_lines("x" * 600, [], None, [CALL])
    assert line == f"text: {'x' * 500}... (600 characters)"


def test_a_file_is_described_by_its_content(tmp_path: Path) -> None:
    image, broken = tmp_path / "a.png", tmp_path / "b.png"
    Image.new("RGB", (4, 3)).save(image)
    broken.write_bytes(b"nothing")
    assert describe(image).startswith(f"{image} (4x3 PNG, ")
    assert describe(broken) == f"{broken} (not a readable image, 0.0 KiB)"
