"""`sandbox audit` sums up what the plugin wrote: log lines, lines inside JSON logs, records of the store."""

import io
import json
from pathlib import Path

import pytest

from sandbox import cli

FIRST = 1_795_737_600.0  # 2026-11-27, 00:00 UTC


def record(number: int, **facts: object) -> dict[str, object]:
    return {
        "id": f"r{number}",
        "time": FIRST + number,
        "user": "ann",
        "model": "sd3.5-medium",
        "backend": "stability",
        "answered_by": "sd3.5-medium",
        "seed": "1",
        "width": 64,
        "height": 64,
        "n": 1,
        "price": "0.035",
        "currency": "USD",
        "seconds": 2.0,
        "outcome": "succeeded",
        "error_class": None,
        "cached": False,
        **facts,
    }


RECORDS = [
    record(1, n=2, price="0.07"),
    record(2, user="ben", model="auto", prompt="a “fox”\nin \\ snow"),
    record(3, outcome="refused", price=None, currency=None, answered_by=None),
    record(4, outcome="failed", price=None, answered_by=None),
    record(5, cached=True, price="0"),
    record(86_405, price="1.50", currency="CNY"),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a container: other lines, a plain line, and one inside a JSON string."""
    path = tmp_path / "plugin.log"
    texts = [f"image_request {json.dumps(one, ensure_ascii=False)}" for one in RECORDS]
    lines = [f"2026/11/27 00:00:01 INFO {text}" for text in texts[:3]]
    lines += [json.dumps({"level": "info", "log": f"{text}\n"}) for text in texts[3:]]
    path.write_text("\n".join(["starting", *lines, "image_request {broken"]), encoding="utf-8")
    return path


def test_a_log_becomes_a_table_by_day_user_and_model(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", str(log)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "1 records could not be read\n"
    assert printed.out.splitlines() == [
        "day         user  model         requests  images  failed  refused  cached  fallbacks  cost",
        "2026-11-27  ann   sd3.5-medium         4       3       1        1       1          0  0.07 USD",
        "2026-11-27  ben   auto                 1       1       0        0       0          1  0.035 USD",
        "2026-11-28  ann   sd3.5-medium         1       1       0        0       0          0  1.5 CNY",
        "total                                  6       5       1        1       1          1  1.5 CNY, 0.105 USD",
    ]


def test_records_of_the_store_are_read_from_a_folder_and_count_once(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "audit" / "2026" / "11" / "27"
    folder.mkdir(parents=True)
    for one in RECORDS:
        (folder / f"{one['id']}.json").write_text(json.dumps(one), encoding="utf-8")
    assert cli.main(["audit", str(tmp_path / "audit"), str(log), "--by", "user", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["user"], row["requests"], row["cost"]) for row in rows] == [
        ("ann", 5, {"CNY": "1.5", "USD": "0.07"}),
        ("ben", 1, {"USD": "0.035"}),
        ("total", 6, {"CNY": "1.5", "USD": "0.105"}),
    ]


def test_without_a_path_standard_input_is_read(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(log.read_text("utf-8")))
    assert cli.main(["audit", "--by", "model"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("total")


def test_nothing_to_read_and_wrong_usage_have_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.log"
    empty.write_text("nothing here\n", encoding="utf-8")
    assert cli.main(["audit", str(empty)]) == 1
    assert "no audit record was found" in capsys.readouterr().err
    assert cli.main(["audit", str(tmp_path / "missing.log")]) == 2
    with pytest.raises(SystemExit):
        cli.main(["audit", "--by", "week"])
