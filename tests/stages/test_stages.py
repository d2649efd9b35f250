"""The list of stages: only configured stages are listed and imported."""

import sys
from pathlib import Path

import pytest

from models import stages
from models.backends.errors import BadRequest
from models.entities import ImageRequest
from models.output.structured import OutputOptions
from models.settings import Settings
from models.stages.audit import Receipt
from tests.asking import carried

OPTIONAL = (
    *("forbidden_words", "moderation", "negative_prompt", "marking", "stamp", "variants"),
    *("quota", "quota_file", "quota_redis", "webhook", "storage", "cache"),
)


def names(**values: str) -> list[str]:
    listed = stages.before_service(Settings(values, {}))
    return [type(stage).__module__.rpartition(".")[2] for stage in listed]


def test_the_stages_have_a_fixed_order() -> None:
    listed = names(
        default_negative_prompt="text",
        moderation_url="http://host/v1",
        limits="images 4, 9/day",
        forbidden_words="nude",
    )
    assert listed == ["request_limits", "forbidden_words", "moderation", "negative_prompt", "quota"]


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("", ["files", "files"]),
        ("http://host/v1", ["files", "moderation", "files"]),
        ("http://host/v1?images=off", ["files", "files"]),
    ],
)
def test_results_are_moderated_between_proof_and_format(url: str, listed: list[str]) -> None:
    after = stages.after_service(Settings({"moderation_url": url}, {}))
    modules = [getattr(stage, "__module__", "") for stage in after]
    assert [name.rpartition(".")[2] for name in modules] == listed


@pytest.mark.parametrize("limits", ["", "images 4", "megapixels 1", "timeout 60"])
def test_the_limits_are_enforced_for_every_request(limits: str) -> None:
    assert names(limits=limits) == ["request_limits"]


def test_unconfigured_stages_are_neither_listed_nor_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OPTIONAL:
        monkeypatch.delitem(sys.modules, f"models.stages.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "models.storage", raising=False)
    assert names() == ["request_limits"]
    assert len(stages.after_service(Settings({}, {}))) == 2
    assert not [name for name in OPTIONAL if f"models.stages.{name}" in sys.modules]
    assert "models.storage" not in sys.modules


def test_the_cache_is_before_the_quota_and_around_format_and_storage() -> None:
    settings, options = Settings({"limits": "9/day", "storage_url": "file:///srv/x"}, {}), OutputOptions(cache="exact")
    before = [type(stage).__name__ for stage in stages.before_service(settings, options)]
    assert before == ["RequestLimits", "CacheLookup", "QuotaReservation"]
    after = [getattr(stage, "__name__", type(stage).__name__) for stage in stages.after_service(settings, options)]
    assert after == ["proof", "take", "formatting", "Storage", "keep"]


def test_a_request_with_invalid_limits_is_refused_and_logged() -> None:
    settings = Settings({"limits": "images none"}, {})
    with pytest.raises(BadRequest, match="“images none”"):
        stages.before_service(settings)
    assert len(stages.observers(settings)) == 1


def test_the_stages_for_a_further_model() -> None:
    def listed(**values: str) -> list[str]:
        return [type(stage).__name__ for stage in stages.for_next_model(Settings(values, {}))]

    everything = {
        "default_negative_prompt": "x",
        "moderation_url": "http://h",
        "limits": "9/day",
        "forbidden_words": "x",
    }
    assert listed() == ["RequestLimits"]
    assert listed(**everything) == ["RequestLimits", "DefaultNegativePrompt", "QuotaReservation"]


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ({}, ["proof", "formatting"]),
        ({"stamp": "a"}, ["proof", "formatting", "Marking"]),
        ({"cache": "similar"}, ["proof", "take", "formatting", "keep"]),
    ],
)
def test_the_stages_behind_the_service_follow_the_options(options: dict[str, str], listed: list[str]) -> None:
    after = stages.after_service(Settings({}, {}), OutputOptions(**options))  # type: ignore[arg-type]
    assert [getattr(stage, "__name__", type(stage).__name__) for stage in after] == listed
    before = [type(stage).__name__ for stage in stages.before_service(Settings({}, {}), OutputOptions(stamp="a"))]
    assert before == ["RequestLimits", "MarkRules"]


@pytest.mark.parametrize(
    ("storage", "parts", "names"),
    [
        ("", {"thumbnail": 64, "variants": "a"}, set()),
        ("file:///srv/x", {}, {"storage_key"}),
        ("file:///srv/x", {"thumbnail": 64}, {"storage_key", "thumbnail_url"}),
        ("file:///srv/x", {"variants": "a"}, {"storage_key", "variants"}),
    ],
)
def test_what_a_result_will_have_of_the_storage(storage: str, parts: dict[str, object], names: set[str]) -> None:
    request = ImageRequest(model="m", prompt="", **parts)  # type: ignore[arg-type]
    assert stages.gives(Settings({"storage_url": storage}, {}), request) == names


@pytest.mark.parametrize(
    ("values", "probes"),
    [
        ({}, []),
        ({"moderation_url": "x"}, ["check_moderation"]),
        ({"marks": "x"}, ["check_marks"]),
        ({"limits": "9/day"}, ["check_quotas"]),
        ({"limits": "images none"}, []),
        ({"embedding_url": "x"}, ["check_embeddings"]),
        ({"storage_url": "x"}, ["check_storage"]),
        ({"storage_public_url": "x"}, ["check_storage"]),
        ({"webhook_url": "x"}, ["check_webhook"]),
    ],
)
def test_what_is_tried_when_a_form_is_saved(values: dict[str, str], probes: list[str]) -> None:
    assert [probe.__name__ for probe in stages._probes(Settings(values, {}))] == probes


def test_every_fault_of_a_form_is_told_and_what_works_is_not() -> None:
    assert list(stages.check(Settings({}, {}))) == []
    faults = list(stages.check(Settings({"marks": "colour red", "storage_public_url": "https://cdn.example"}, {})))
    assert [("(marks)" in faults[0], "no storage" in faults[1], len(faults))] == [(True, True, 2)]


class Watching:
    def __init__(self) -> None:
        self.seen: list[Receipt] = []

    def __call__(self, receipt: Receipt) -> None:
        raise AssertionError

    def waiting(self, receipt: Receipt) -> None:
        self.seen.append(receipt)


def test_only_an_observer_of_single_calls_is_told_of_a_job_that_goes_on() -> None:
    watching, receipt = Watching(), carried().receipt
    stages.tell_waiting([lambda _: pytest.fail("it was told"), watching], receipt)
    assert watching.seen == [receipt]


def test_observers_follow_the_settings(tmp_path: Path) -> None:
    def listed(**values: str) -> list[str]:
        settings = Settings(values, {"IMAGE_GENERATION_STATE_DIR": str(tmp_path)})
        return [type(observer).__name__ for observer in stages.observers(settings)]

    assert listed() == ["AuditLog"]
    assert listed(limits="9/day") == ["AuditLog", "QuotaSettlement"]
    assert listed(storage_url=f"file://{tmp_path}") == ["AuditLog", "AuditStore"]
    secret = "whsec_" + "A" * 32
    assert listed(webhook_url="https://h/x", webhook_secret=secret) == ["AuditLog", "WebhookSender"]
    assert listed(webhook_url="https://h/x") == ["AuditLog"]
