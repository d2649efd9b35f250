"""The list of stages: only configured stages are listed and imported."""

import sys

import pytest

from models import stages
from models.backends.errors import BadRequest
from models.output.structured import OutputOptions
from models.settings import Settings

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
