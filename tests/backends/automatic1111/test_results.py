"""The images of a reply and what it says beside them."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from models.backends.automatic1111.build import Generation, Options, ResolvedNames
from models.backends.automatic1111.job import ServerSettings, TaskProgress
from models.backends.automatic1111.results import (
    Generated,
    Info,
    check_checkpoint,
    differences,
    explained,
    generated_images,
    infotexts,
    interrupted,
    kept_settings,
)
from models.backends.automatic1111.server_lists import Name
from models.backends.errors import AuthorizationFailed, BadRequest, ServerUnavailable
from models.backends.reply import Reply
from models.settings import Access
from tests.fakes import image_file

PNG = image_file()
PLAIN = base64.b64encode(PNG).decode()


def images(count: int, info: Info = Info(), stopped: Any = None, **body: int) -> tuple[list[int | None], list[str]]:  # noqa: B008
    """The seeds of the images that are kept, and the words of the failures."""
    made = generated_images(
        Generated(images=(PLAIN,) * count), info, Generation(prompt="x", **body), "Trying", stopped=stopped
    )
    assert all(image.data == PNG for image in made.images)
    return [image.seed for image in made.images], [failure.said for failure in made.failures]


FEWER = "{} of {} images came back: the job was interrupted at the server"


@pytest.mark.parametrize(
    ("count", "first", "body", "kept", "said"),
    [
        (1, 0, {}, 1, None),
        (4, 0, {"batch_size": 2, "n_iter": 2}, 4, None),
        (5, 1, {"batch_size": 2, "n_iter": 2}, 4, None),
        (7, 1, {"batch_size": 2, "n_iter": 2}, 4, None),
        (3, 0, {"batch_size": 2, "n_iter": 2}, 2, FEWER.format(3, 4)),
        (2, 0, {"n_iter": 4}, 1, FEWER.format(2, 4)),
        (0, 0, {}, 0, None),
    ],
)
def test_the_images_of_a_reply_are_those_of_the_job(
    count: int, first: int, body: dict[str, int], kept: int, said: str | None
) -> None:
    seeds, failures = images(count, Info(index_of_first_image=first, all_seeds=(7, 8)), **body)
    assert seeds == [7, 8, None, None][:kept]
    assert failures == ([said] if said else [])


def test_a_stopped_job_keeps_its_finished_batches() -> None:
    stopped = interrupted("Trying", "late")
    assert images(4, stopped=stopped, batch_size=2, n_iter=2)[0] == [None, None]
    assert images(3, stopped=stopped, n_iter=3) == ([None, None], [stopped.said])
    for count in (0, 1):
        with pytest.raises(
            ServerUnavailable, match=r"late: the job was interrupted at the server\. It was stopped in the WebUI"
        ):
            images(count, stopped=stopped)


def test_too_few_images_without_a_finished_batch_are_an_error() -> None:
    with pytest.raises(ServerUnavailable, match="1 of 4 images came back"):
        images(1, n_iter=4)


@pytest.mark.parametrize(
    ("text", "info"),
    [
        ('{"all_seeds": [5], "sampler_name": null}', Info(all_seeds=(5,))),
        ("", Info()),
        (None, Info()),
        ("[]", Info()),
        ("{broken", Info()),
        ('{"all_seeds": "x"}', Info()),
    ],
)
def test_the_info_is_read_as_far_as_it_can_be(text: str | None, info: Info) -> None:
    assert Info.read(text) == info


A, B = Name("anime", ("abc",)), Name("refiner")


@pytest.mark.parametrize(
    ("names", "used", "digest", "refused"),
    [
        (ResolvedNames(checkpoint=A), "anime", None, False),
        (ResolvedNames(checkpoint=A), "other", "abc", False),
        (ResolvedNames(checkpoint=A), "other", None, True),
        (ResolvedNames(checkpoint=A), None, "zzz", False),
        (ResolvedNames(), "other", None, False),
        (ResolvedNames(checkpoint=A, refiner=B), "refiner", None, False),
        (ResolvedNames(refiner=B), "other", None, False),
    ],
)
def test_another_checkpoint_than_the_asked_one_is_an_error(
    names: ResolvedNames, used: str | None, digest: str | None, refused: bool
) -> None:
    info = Info(sd_model_name=used, sd_model_hash=digest)
    if not refused:
        check_checkpoint(info, names, "Trying")
        return
    with pytest.raises(ServerUnavailable, match="the server used the checkpoint other instead of anime"):
        check_checkpoint(info, names, "Trying")


TEXT = "a fox\nSteps: 20, Schedule type: Karras , CFG scale: 7, ADetailer model: face.pt"


@pytest.mark.parametrize(
    ("info", "body", "options", "names", "told"),
    [
        ({}, {}, {}, {}, []),
        ({"sampler_name": "euler"}, {"sampler_name": "Euler"}, {}, {}, []),
        ({"sampler_name": "Heun"}, {"sampler_name": "Euler"}, {}, {}, ["The server used the sampler Heun instead of Euler."]),
        ({"sampler_name": None}, {"sampler_name": "Euler"}, {}, {}, []),
        ({"sampler_name": "Heun"}, {}, {}, {}, []),
        ({"infotexts": (TEXT,)}, {"scheduler": "karras"}, {}, {}, []),
        ({"infotexts": (TEXT,)}, {"scheduler": "SGM"}, {}, {}, ["The server used the scheduler Karras instead of SGM."]),
        ({"infotexts": (TEXT,)}, {"scheduler": "Automatic"}, {}, {}, []),
        ({"infotexts": ("no schedule",)}, {"scheduler": "SGM"}, {}, {}, []),
        ({"clip_skip": 1.0}, {}, {"clip_skip": 2}, {}, ["The server used clip skip 1 instead of 2."]),
        ({"clip_skip": 2.0}, {}, {"clip_skip": 2}, {}, []),
        ({"clip_skip": 1.0}, {}, {"clip_skip": 0}, {}, []),
        ({"clip_skip": None}, {}, {"clip_skip": 2}, {}, []),
        ({"sd_vae_name": "a.pt"}, {}, {}, {"vae_settings": {"sd_vae": "b.pt"}}, ["The server used the VAE a.pt instead of b.pt."]),
        ({"sd_vae_name": "a.pt"}, {}, {}, {"vae_settings": {"sd_vae": "None"}}, []),
        ({}, {}, {}, {"checkpoint": A}, ["The server does not report which checkpoint it used; anime was requested."]),
        ({"sd_model_name": "anime"}, {}, {}, {"checkpoint": A}, []),
        ({"infotexts": ("no mark",)}, {}, {"adetailer_model": "face.pt"}, {"adetailer_title": "adetailer"}, ["ADetailer did not change the image: it did not take the model face.pt."]),
        ({"infotexts": (TEXT,)}, {}, {"adetailer_model": "face.pt"}, {"adetailer_title": "adetailer"}, []),
        ({"infotexts": ()}, {}, {"adetailer_model": "face.pt"}, {"adetailer_title": "adetailer"}, []),
    ],
)  # fmt: skip
def test_what_the_server_used_instead_is_told(
    info: dict[str, Any], body: dict[str, Any], options: dict[str, Any], names: dict[str, Any], told: list[str]
) -> None:
    made = differences(Info(**info), Generation(prompt="x", **body), Options(**options), ResolvedNames(**names))
    assert list(made) == told


@pytest.mark.parametrize(
    ("before", "after", "asked", "told"),
    [
        ("old", "new", {"sd_vae": "new"}, True),
        ("old", "old", {"sd_vae": "new"}, False),
        ("new", "new", {"sd_vae": "new"}, False),
        ("old", "other", {"sd_vae": "new"}, False),
        ("old", "new", None, False),
    ],
)
def test_a_setting_that_stays_for_all_users_is_told(
    before: str, after: str, asked: Mapping[str, str] | None, told: bool
) -> None:
    body = Generation(prompt="x", override_settings=asked)
    found = kept_settings(ServerSettings(sd_vae=before), ServerSettings(sd_vae=after), body, ResolvedNames())
    assert list(found) == (
        [
            "The server's setting sd_vae stays at new for all users (it was old): reset it in the WebUI and press Apply "
            "settings; then each request restores it."
        ]
        if told
        else []
    )


@pytest.mark.parametrize(("was", "told"), [("abc", False), ("photo", True)])
def test_another_spelling_of_the_checkpoint_is_no_change(was: str, told: bool) -> None:
    body = Generation(prompt="x", override_settings={"sd_model_checkpoint": "anime"})
    before, after = (ServerSettings(sd_model_checkpoint=name) for name in (was, "anime"))
    assert bool(list(kept_settings(before, after, body, ResolvedNames(checkpoint=A)))) is told


def test_the_infotexts_are_those_of_the_images() -> None:
    assert infotexts(Info(infotexts=("grid", "a", "b"), index_of_first_image=1)) == ("a", "b")
    assert infotexts(Info(infotexts=("a",))) == ("a",)


ACCESS = Access(prefix="automatic1111")


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, '{"detail": "Not Found"}', BadRequest, "HTTP 404, Not Found"),
        (405, '{"detail": "Method Not Allowed"}', BadRequest, "HTTP 405, Method Not Allowed"),
        (500, '{"error": "OutOfMemoryError", "errors": "CUDA out of memory"}', ServerUnavailable, "HTTP 500, OutOfMemoryError: CUDA out of memory"),
        (500, '{"error": "HTTPException", "detail": "x", "message": ""}', ServerUnavailable, "HTTP 500, x"),
        (500, '{"error": "", "detail": 5}', ServerUnavailable, None),
        (401, '{"detail": "Incorrect username or password"}', AuthorizationFailed, "HTTP 401, Incorrect username or password"),
    ],
)  # fmt: skip
def test_a_refusal_is_put_into_words(status: int, body: str, kind: type[Exception], said: str | None) -> None:
    meaning = explained(Reply(status, {}, body.encode()), ACCESS)
    assert meaning.error is kind
    assert said is None or meaning.said == said


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, '{"detail": "Not Found"}', "`--api`"),
        (404, "<html>", "opens the WebUI in a browser"),
        (501, '{"detail": "Not Found"}', "opens the WebUI in a browser"),
        (404, '{"detail": "Init image not found"}', ""),
        (404, '{"detail": 5}', "`--api`"),
    ],
)
def test_a_missing_route_tells_what_stands_at_the_address(status: int, body: str, words: str) -> None:
    step = explained(Reply(status, {}, body.encode()), ACCESS).next_step
    assert words in step
    assert bool(step) is bool(words)


@pytest.mark.parametrize(
    ("key", "step"),
    [("secret", "it is sent as a Bearer token to the proxy in front of the WebUI"), ("", "--api-auth user:password")],
)
def test_a_refused_login_names_what_was_sent(key: str, step: str) -> None:
    assert step in explained(Reply(401, {}, b""), Access(prefix="automatic1111", api_key=key)).next_step


@pytest.mark.parametrize(
    ("state", "known"),
    [({}, False), ({"active": True}, True), ({"queued": True}, True), ({"completed": True}, True)],
)
def test_a_task_is_known_while_it_waits_runs_or_has_just_ended(state: dict[str, bool], known: bool) -> None:
    assert TaskProgress(**state).known is known
