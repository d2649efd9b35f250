"""The refusal table: the first matching row, with the service's message and the fields of the form."""

import json
import time
from pathlib import Path
from string import Formatter

import pytest

from models.backends.errors import AuthorizationFailed, BadRequest, ImageError, RateLimited, ServerUnavailable
from models.backends.refusals import Fault, RefusalRow, RefusalTable
from models.backends.registry import BACKENDS
from models.backends.reply import Explanation, Reply
from models.settings import Access

TABLES = sorted(Path("models/backends").rglob("refusals.yaml"))
ACCESS = Access(prefix="stability", api_key="k")
OWN_WORDS = {"automatic1111": {"login"}, "comfyui": {"comfy_account_api_key", "input", "parameter"}, "openai_images": {"login", "models"},
             "qwen_image": {"key_advice", "model_advice", "region"}}  # fmt: skip
"""Values that a service adds to its next steps besides the fields of the form."""


@pytest.fixture
def table(tmp_path: Path) -> RefusalTable:
    path = tmp_path / "refusals.yaml"
    path.write_text(
        """
        - {codes: [Size.TooLarge], error: bad_request, next_step: Ask for less}
        - {codes: [Size], error: bad_request, next_step: Change the size}
        - {codes: [no_credit], statuses: [403], error: rate_limit, next_step: "Pay, {api_key} {place}"}
        - {statuses: [429, 503], words: ["slow(er)? down"], error: rate_limit, next_step: Wait, retry: 5}
        - {statuses: [503], error: server_unavailable, next_step: Wait, retry: with_header}
        - {params: ["^steps$"], error: bad_request, next_step: "Change {parameter}"}
        - {statuses: [4xx], error: authorization, next_step: Look}
        """,
        "utf-8",
    )
    return RefusalTable(path)


def explained(table: RefusalTable, **parts: object) -> Explanation:
    return table.explain(Fault(said=str(parts.pop("said", "no")), **parts), ACCESS, parameter="`steps`")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("Size.TooLarge", "Ask for less"),
        ("size.toolarge.by_far", "Ask for less"),
        ("SIZE", "Change the size"),
        ("s_i_z_e.other", "Change the size"),
        ("Sizes", ""),
    ],
)
def test_a_code_matches_in_any_spelling_and_with_a_suffix(table: RefusalTable, code: str, advice: str) -> None:
    assert explained(table, codes=(code,)).next_step == advice


def test_all_conditions_of_a_row_must_hold(table: RefusalTable) -> None:
    assert explained(table, codes=("no_credit",), status=403).error is RateLimited
    assert explained(table, codes=("no_credit",), status=400).error is AuthorizationFailed
    assert explained(table, status=403).error is AuthorizationFailed
    assert explained(table, status=429, said="Slow down, please").error is RateLimited
    assert explained(table, status=500, said="Slow down, please").next_step == ""


def test_words_match_in_codes_too(table: RefusalTable) -> None:
    assert explained(table, status=429, codes=("slow down",)).next_step == "Wait"


def test_a_long_answer_is_searched_only_at_its_start() -> None:
    table = RefusalTable(Path("models/backends/openai_images/refusals.yaml"))
    began = time.perf_counter()
    table.explain(Fault(said="the model " * 100_000, status=400), ACCESS)
    assert time.perf_counter() - began < 2


def test_a_parameter_is_matched_by_name_or_message(table: RefusalTable) -> None:
    assert explained(table, param="steps").next_step == "Change `steps`"
    assert explained(table, said="steps").next_step == "Change `steps`"
    assert explained(table, said="steps", param="seed").next_step == ""


def test_the_next_step_names_the_fields_of_the_form(table: RefusalTable) -> None:
    step = explained(table, codes=("no_credit",), status=403).next_step
    assert step == "Pay, “Stability AI API key” (stability_api_key) in the provider's settings"


@pytest.mark.parametrize(
    ("status", "said", "header", "pause"),
    [(429, "slower down", None, 5.0), (503, "gone", None, None), (503, "gone", 9.0, 0.0), (401, "no", 9.0, None)],
)
def test_a_row_defines_whether_the_request_is_retried(
    table: RefusalTable, status: int, said: str, header: float | None, pause: float | None
) -> None:
    assert explained(table, status=status, said=said, retry_after=header).retry_after == pause


@pytest.mark.parametrize(
    ("status", "error"), [(500, ServerUnavailable), (0, ServerUnavailable), (302, ServerUnavailable)]
)
def test_without_a_row_the_status_defines_the_class(table: RefusalTable, status: int, error: type[ImageError]) -> None:
    assert explained(table, status=status) == Explanation(error=error, said="no")
    assert RefusalTable().explain(Fault(said="no", status=400), ACCESS).error is BadRequest


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (402, "pay", ""),
        (400, "Insufficient account balance, please recharge", ""),
        (403, "Your credit balance is too low", ""),
        (429, "You exceeded your current quota", "insufficient_quota"),
        (0, "余额不足", ""),
    ],
)
@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_an_account_without_credit_is_told_as_such_by_every_backend(
    backend: str, status: int, said: str, code: str
) -> None:
    path = Path(f"models/backends/{backend}/refusals.yaml")
    table = RefusalTable(path if path.exists() else None)
    meaning = table.explain(Fault(said=said, status=status, codes=(code,)), ACCESS, region="here", models="")
    assert meaning.error is RateLimited
    assert meaning.retry_after is None
    assert "Wait" not in meaning.next_step


@pytest.mark.parametrize(
    "said", ["CUDA out of memory", "no background credits file", "Quota metric requests per minute"]
)
def test_other_troubles_are_not_taken_for_an_empty_account(said: str) -> None:
    assert RefusalTable().explain(Fault(said=said, status=500), ACCESS).error is ServerUnavailable


def test_a_table_is_read_once_on_the_first_refusal(tmp_path: Path, table: RefusalTable) -> None:
    later = RefusalTable(tmp_path / "none.yaml")
    with pytest.raises(FileNotFoundError):
        explained(later)
    assert table.rows is table.rows


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, {"error": {"code": "c", "type": "t", "param": "p"}}, (400, ("c", "t"), "p")),
        (400, [{"error": {"code": 7}}], (400, ("7",), "")),
        (400, {"detail": {"code": "c"}}, (400, ("c",), "")),
        (403, {"name": "content_moderation", "errors": ["no"]}, (403, ("content_moderation",), "")),
        (200, {"error": {"code": 402}}, (402, ("402",), "")),
        (500, {"error": {"code": 402}}, (500, ("402",), "")),
        (502, "gone", (502, (), "")),
    ],
)
def test_an_error_is_read_from_every_known_format(
    status: int, body: object, fault: tuple[int, tuple[str, ...], str]
) -> None:
    read = Fault.read(Reply(status, {}, json.dumps(body).encode()))
    assert (read.status, read.codes, read.param) == fault
    assert read.said.startswith(f"HTTP {status}")


@pytest.mark.parametrize("path", TABLES, ids=[path.parent.name for path in TABLES])
def test_every_row_has_a_condition_and_a_next_step_with_known_fields(path: Path) -> None:
    known = {"place", "api_key", "base_url", "username", "password", "remote_model", "dialect"}
    for row in RefusalTable(path).rows:
        assert row.codes or row.statuses or row.words or row.params
        places = {name for _, name, _, _ in Formatter().parse(row.next_step) if name}
        assert row.next_step
        assert places <= known | OWN_WORDS.get(path.parent.name, set())


@pytest.mark.parametrize("condition", ["words", "params"])
@pytest.mark.parametrize(("place", "found"), [(4999, True), (5000, False)])
def test_words_are_looked_for_in_the_first_5000_characters(condition: str, place: int, found: bool) -> None:
    row = RefusalRow.model_validate({"error": "bad_request", "next_step": "x", condition: ["!"]})
    assert row.fits(Fault(said="a" * place + "!")) is found
