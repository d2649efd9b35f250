"""How soon the end of a job is found, on a simulated clock; `benchmarks/cadence.py` measures and prints the same."""

import pytest

from benchmarks.cadence import HOST, LENGTHS, Service, found, in_direct_time, services

SERVICES = {service.name: service for service in services()}
DIRECT = [name for name, service in SERVICES.items() if "direct" in service.ways]
POLLED = [name for name, service in SERVICES.items() if "polling" in service.ways]
STUDIO = SERVICES["Qwen-Image, later jobs"]


@pytest.mark.parametrize("seconds", LENGTHS[:3])
@pytest.mark.parametrize("name", DIRECT)
def test_a_call_finds_the_end_of_a_job_within_half_a_second(name: str, seconds: float) -> None:
    assert found(SERVICES[name], seconds, "direct").late <= 0.5


@pytest.mark.parametrize("service", [SERVICES["ComfyUI, WebSocket mute"], STUDIO], ids=lambda one: one.name)
def test_a_call_finds_the_end_of_the_longest_job_within_two_seconds(service: Service) -> None:
    assert in_direct_time(LENGTHS[-1], found(service, LENGTHS[-1], "direct"))


@pytest.mark.parametrize("seconds", [2.0, 60.0, 6000.0])
@pytest.mark.parametrize("name", POLLED)
def test_a_check_is_short_and_finds_the_end_soon_after_the_hosts_pause(name: str, seconds: float) -> None:
    one = found(SERVICES[name], seconds, "polling")
    assert one.in_time, one


@pytest.mark.parametrize("name", POLLED)
def test_a_silent_service_holds_no_check_for_longer_than_a_moment(name: str) -> None:
    service = SERVICES[name]
    silent = found(service, 30.0, "polling", silent_from=5.0)
    assert silent.outcome.startswith("InvokeConnectionError: ")
    assert "did not reply in time" in silent.outcome
    assert silent.held <= 1.5
    assert silent.checks <= HOST.max_attempts


@pytest.mark.parametrize(("before", "most"), [(0, 140), (3, 60)])
def test_qwen_is_asked_often_only_near_the_usual_end(before: int, most: int) -> None:
    service = SERVICES["Qwen-Image, first job of a model"]
    assert found(service, 60.0, "direct", before=before).requests <= most


@pytest.mark.parametrize(("seconds", "silent_from"), [(588.0, 588.1), (900.0, 589.0)])
@pytest.mark.parametrize("name", ["ComfyUI", "ComfyUI, WebSocket mute", "Qwen-Image, later jobs", "AUTOMATIC1111"])
def test_a_call_ends_before_the_host_ends_it(name: str, seconds: float, silent_from: float) -> None:
    """Silent polls, downloads and cancellations near the end: Dify kills a call after 600 seconds."""
    one = found(SERVICES[name], seconds, "direct", before=0, silent_from=silent_from)
    assert one.outcome.startswith("InvokeConnectionError: ") or one.outcome == "image"
    assert one.seconds <= 597.1
