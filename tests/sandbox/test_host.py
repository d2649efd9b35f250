"""The host with a test plugin that fails on request, and with a bare process that is killed."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sandbox import (
    CallTimeoutError,
    Host,
    InvokeReply,
    Limits,
    PluginDiedError,
    PluginError,
    PluginStartError,
    RefusedError,
)
from sandbox.protocol import Chunk, JsonObject, image_part, system, user
from tests.sandbox.conftest import BARE


def _echo(reply: InvokeReply) -> JsonObject:
    seen: JsonObject = json.loads(reply.text)
    return seen


def test_an_image_comes_back_as_bytes(host: Host) -> None:
    reply = host.invoke("painter", {}, [user("a cat")])
    assert reply.text == "a cat"
    assert [(image.mime_type, image.data[:4]) for image in reply.images] == [("image/png", b"\x89PNG")]
    assert reply.usage is not None
    assert reply.usage.currency == "USD"


def test_the_statistics_measure_the_lines(host: Host) -> None:
    statistics = host.invoke("painter", {}, [user("a cat")], {"act": "long-line", "amount": 50_000}).statistics
    assert 50_000 < statistics.largest_line < 51_000
    assert (statistics.action, statistics.lines, statistics.backwards_calls) == ("invoke_llm", 2, ())
    assert 0 < statistics.seconds_to_first_line <= statistics.seconds


def test_chunks_are_passed_on_immediately(host: Host) -> None:
    seen: list[Chunk] = []
    reply = host.invoke("painter", {}, [user("red green")], {"act": "stream"}, stream=True, on_chunk=seen.append)
    assert reply.chunks == tuple(seen)
    assert len(reply.images) == 2
    assert reply.text == "red green "


def test_values_are_converted_to_float64_by_the_daemon(host: Host) -> None:
    seed = 2**53 + 1
    reply = host.invoke(
        "painter", {"port": 80.0, "big": seed}, [user("a")], {"act": "echo", "amount": 2.0, "seed": seed}
    )
    seen = _echo(reply)
    assert seen["parameters"] == {"act": "echo", "amount": 2, "seed": 2**53}
    assert seen["credentials"] == {"big": 2**53, "port": 80}


def test_the_state_of_a_job_is_converted_to_float64_in_both_directions(host: Host) -> None:
    started = host.start_polling("job", {}, [user("a")], {"seed": 2**53 - 1})
    assert started.plugin_state is not None
    assert started.plugin_state["half"] == 0.5
    checked = host.check_polling("job", {}, started.plugin_state | {"seed": 2**53 + 1})
    assert checked.plugin_state is not None
    assert checked.plugin_state["seed"] == 2**53


def test_images_and_roles_reach_the_plugin(host: Host) -> None:
    reply = host.invoke(
        "painter", {}, [system("be bold"), user("a", image_part(b"\x89PNG", filename="mask.png"))], {"act": "echo"}
    )
    messages = _echo(reply)["messages"]
    assert isinstance(messages, list)
    first, second = messages
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["role"], first["content"]) == ("system", "be bold")
    assert isinstance(second["content"], list)
    assert isinstance(second["content"][1], dict)
    assert second["content"][1]["filename"] == "mask.png"


@pytest.mark.parametrize(
    "message", [{"role": "user", "content": None}, {"role": "robot", "content": "a"}, {"content": "a"}]
)
def test_a_message_the_daemon_would_refuse_is_refused(host: Host, message: JsonObject) -> None:
    with pytest.raises(RefusedError):
        host.invoke("painter", {}, [message])


def test_an_error_keeps_its_class_and_message(host: Host) -> None:
    with pytest.raises(PluginError, match="no such size") as caught:
        host.invoke("painter", {}, [user("no such size")], {"act": "refuse"})
    assert caught.value.error_type == "InvokeBadRequestError"
    assert "_invoke" in caught.value.traceback


def test_calls_back_into_the_host_are_refused(host: Host) -> None:
    with pytest.raises(PluginError, match="you can not invoke dify from model"):
        host.invoke("painter", {}, [user("a")], {"act": "call-back"})


def test_printed_text_is_skipped(host: Host) -> None:
    assert host.invoke("painter", {}, [user("a")], {"act": "print"}).text == "printed"


def test_start_and_check_use_different_processes(host: Host) -> None:
    reply = host.run_polling("job", {}, [user("a dog")], sleep=lambda _: None)
    first, second, third = json.loads(reply.text.removeprefix("painted by "))
    assert first == third != second
    assert len(reply.images) == 1


def test_polling_uses_the_interval_of_the_plugin(host: Host) -> None:
    waits: list[float] = []
    host.run_polling("job", {}, [user("a")], sleep=waits.append)
    assert waits == [1, 1]


def test_a_failed_job_is_a_reply_and_not_an_exception(host: Host) -> None:
    reply = host.run_polling("job", {}, [user("a")], {"act": "refuse"}, sleep=lambda _: None)
    assert (reply.status, reply.error, reply.images) == ("failed", "refused: a", ())


def test_structured_output_comes_with_the_result(host: Host) -> None:
    reply = host.run_polling("job", {}, [user("a")], {"seed": 5}, json_schema={"type": "object"}, sleep=lambda _: None)
    assert reply.result is not None
    assert reply.result.structured_output == {"seed": 5, "prompt": "a"}


def test_credentials_are_checked_by_the_plugin(host: Host) -> None:
    host.validate_provider_credentials({"api_key": "right"})
    host.validate_model_credentials("painter", {"api_key": "right"})
    with pytest.raises(PluginError, match=r"Fill in another api_key\."):
        host.validate_provider_credentials({"api_key": "wrong"})
    with pytest.raises(PluginError, match=r"Fill in another api_key for painter\."):
        host.validate_model_credentials("painter", {"api_key": "wrong"})


def test_the_schema_of_a_model_is_its_card(host: Host) -> None:
    schema = host.model_schema("job", {})
    assert schema is not None
    assert schema["features"] == ["vision", "polling", "structured-output"]
    assert host.model_schema("nobody", {}) is None


def test_tokens_are_counted_by_the_plugin(host: Host) -> None:
    assert host.num_tokens("painter", {}, [user("four")]) == 4


def test_many_calls_run_concurrently(host: Host) -> None:
    """Twenty sequential waits of 0.5 s would exceed the limit."""
    deadline = time.monotonic() + 8
    with ThreadPoolExecutor(20) as pool:
        replies = list(
            pool.map(
                lambda number: host.invoke("painter", {}, [user(str(number))], {"act": "sleep", "amount": 0.5}),
                range(20),
            )
        )
    assert time.monotonic() < deadline
    assert {reply.statistics.process for reply in replies} == {0, 1}


def test_concurrent_large_replies_keep_their_lines_separate(host: Host) -> None:
    def ask(number: int) -> int:
        return len(host.invoke("painter", {}, [user("a")], {"act": "long-line", "amount": 100_000 + number}).text)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(24))) == [100_000 + number for number in range(24)]


def test_an_oversize_line_kills_the_process_and_is_reported_with_its_length(fragile_host: Host) -> None:
    victim = fragile_host.process(0).pid
    with pytest.raises(PluginDiedError, match="longer than the host's 100000") as caught:
        fragile_host.invoke("bare", {}, [user("a")], {"act": "long-line", "amount": 250_000})
    assert caught.value.line_length is not None
    assert 250_000 < caught.value.line_length < 251_000
    assert not psutil.pid_exists(victim)


def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_kills(fragile_host: Host) -> None:
    def line_of(amount: int) -> int:
        parameters: JsonObject = {"act": "long-line", "amount": amount}
        return fragile_host.invoke("bare", {}, [user("a")], parameters).statistics.largest_line

    envelope = line_of(10_000) - 10_000
    limit = fragile_host.limits.line
    assert line_of(limit - envelope) == limit
    with pytest.raises(PluginDiedError) as caught:
        line_of(limit - envelope + 1)
    assert caught.value.line_length == limit + 1


def test_the_limit_is_the_daemons() -> None:
    assert Limits().line == 5_242_880


def test_all_running_calls_fail_with_the_process(fragile_host: Host) -> None:
    waiting, fallen = threading.Event(), []

    def hang() -> None:
        waiting.set()
        with pytest.raises(PluginDiedError) as caught:
            fragile_host.invoke("bare", {}, [user("a")], {"act": "hang"})
        fallen.append(caught.value.reason)

    hanging = threading.Thread(target=hang)
    hanging.start()
    waiting.wait()
    fragile_host.invoke("bare", {}, [user("a")])
    with pytest.raises(PluginDiedError):
        fragile_host.invoke("bare", {}, [user("a")], {"act": "long-line", "amount": 250_000})
    hanging.join()
    assert "longer than the host's" in fallen[0]


def test_a_crash_is_reported_with_stderr_and_the_next_call_restarts(fragile_host: Host) -> None:
    with pytest.raises(PluginDiedError, match="the last words") as caught:
        fragile_host.invoke("bare", {}, [user("a")], {"act": "crash"})
    assert caught.value.reason == "the plugin process ended by itself with code 7"
    assert fragile_host.invoke("bare", {}, [user("again")]).text == "again"
    assert fragile_host.restarts == 1


def test_a_killed_process_is_replaced(fragile_host: Host) -> None:
    before = fragile_host.process(0).pid
    fragile_host.kill(0)
    assert not psutil.pid_exists(before)
    assert fragile_host.invoke("bare", {}, [user("again")]).text == "again"
    assert fragile_host.process(0).pid != before


def test_a_missing_heartbeat_kills_the_process(fragile_host: Host) -> None:
    with pytest.raises(PluginDiedError, match="no heartbeat"):
        fragile_host.invoke("bare", {}, [user("a")], {"act": "fall-silent"})


def test_a_call_without_an_end_is_killed_by_timeout(fragile_host: Host) -> None:
    with pytest.raises(CallTimeoutError, match="killed by timeout"):
        fragile_host.invoke("bare", {}, [user("a")], {"act": "hang"})


def test_closing_the_host_ends_every_process() -> None:
    with Host(plugin_dir=BARE, processes=2) as host:
        pids = [host.process(index).pid for index in range(2)]
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_a_folder_without_a_plugin_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PluginStartError, match="No module named main"), Host(plugin_dir=tmp_path):
        pass


def test_modules_of_the_host_do_not_shadow_those_of_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    with Host(plugin_dir=BARE) as host:
        assert host.invoke("bare", {}, [user("a")]).text == "a"
