"""The preview model: readable, deterministic placeholders, and jobs that any process can check."""

import io
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from pydantic import JsonValue

from models.backends.base import JobBackend, Running
from models.backends.errors import BadRequest, ConnectionFailed
from models.backends.preview.drawing import PlaceholderImage, draw
from models.entities import ImageRequest, ImageResult, InputImage
from models.images.lettering import EAST_ASIAN, EUROPEAN, clipped, font, runs, shortened, width_of, wrapped
from models.parameters import MAX_SEED
from tests.asking import asked, bound
from tests.fakes import FakeClock, image_file

SHIRT = image_file(320, 240, colour=(255, 0, 255))
FOX = PlaceholderImage(model="preview", prompt="a red fox", width=320, height=240, seed=7)


def backend(clock: FakeClock) -> JobBackend:
    found = bound("preview", {}, clock)
    assert isinstance(found, JobBackend)
    return found


def ask(**parts: object) -> ImageRequest:
    return asked(bound("preview", {}), "a red fox", **parts)


def slow(seconds: float, **parts: object) -> ImageRequest:
    return ask(extra={"simulate_seconds": seconds}, **parts)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def file_of(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def differs(one: bytes, other: bytes) -> tuple[int, int, int, int] | None:
    """The bounding box of the difference of two images of one size."""
    return ImageChops.difference(opened(one), opened(other)).getbbox()


def test_the_same_request_gives_the_same_bytes() -> None:
    assert draw(FOX) == draw(FOX)


@pytest.mark.parametrize("change", [{"prompt": "a blue fox"}, {"seed": 8}])
def test_prompt_and_seed_change_scenery_and_text(change: dict[str, object]) -> None:
    other = draw(replace(FOX, **change))  # type: ignore[arg-type]
    box = differs(draw(FOX), other)
    assert box is not None
    assert box[1] < 150
    assert box[3] > 200


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (17, 900), (900, 17), (200, 150), (512, 512), (2048, 128)])
def test_every_size_is_exact(size: tuple[int, int]) -> None:
    assert opened(draw(replace(FOX, width=size[0], height=size[1]))).size == size


@pytest.mark.parametrize("words", [{"model": "preview2"}, {"negative_prompt": "blur"}])
def test_model_and_negative_prompt_are_written_into_the_band(words: dict[str, str]) -> None:
    box = differs(draw(FOX), draw(replace(FOX, **words)))  # type: ignore[arg-type]
    assert box is not None
    assert box[1] > 240 * 0.3


@pytest.mark.parametrize("prompt", ["a white wall", "night", "snow", "line art", '"SALE"'])
def test_a_band_marks_a_placeholder(prompt: str) -> None:
    """Along the lower edge, dark with white letters on every background."""
    band = opened(draw(replace(FOX, prompt=prompt))).crop((0, 222, 160, 240)).convert("L")
    lowest, highest = band.getextrema()
    assert isinstance(lowest, int)
    assert isinstance(highest, int)
    assert lowest < 90
    assert highest > 200


@pytest.mark.parametrize("words", [{"label": "STAND-IN"}, {"model": "other"}, {"prompt": "improve all"}])
def test_label_model_and_prompt_are_in_the_band(words: dict[str, str]) -> None:
    """A prompt that changes the light alone leaves the band to its words."""
    shirt = replace(FOX, images=(SHIRT,), prompt="improve it")
    box = differs(draw(shirt), draw(replace(shirt, **words)))  # type: ignore[arg-type]
    assert box is not None
    assert box[3] > 210


@pytest.mark.parametrize(
    "text",
    ["红狐在雪地里", "大雪の中の狐", "눈속의여우", "Ünïcödéőł", "Рыжаялиса", "Ελλάδαώ", "繁體中文畫面", "₽€₩", "→≤①★"],
)
def test_the_fonts_cover_the_scripts(text: str) -> None:
    """A missing glyph would be drawn as the same box for every character."""
    for name, run in runs(text):
        missing = bytes(font(name, 24).getmask("\U0001f98a"))
        assert missing not in {bytes(font(name, 24).getmask(char)) for char in run}


def test_each_script_has_its_font_and_quotes_follow_it() -> None:
    assert runs("say “hi” 他说“你好”") == [(EUROPEAN, "say “hi” "), (EAST_ASIAN, "他说“你好”")]


def test_lines_break_between_words_and_between_chinese_characters() -> None:
    assert wrapped("a red fox in the snow", 20, 100) == ["a red fox", "in the", "snow"]
    lines = wrapped("一只在雪地里的红狐，电影感光线。", 20, 100)
    assert "".join(lines) == "一只在雪地里的红狐，电影感光线。"
    assert len(lines) > 3
    assert not [line for line in lines if line[0] in "，。"]


def test_a_word_longer_than_a_line_is_broken() -> None:
    lines = wrapped("x" * 100, 20, 100)
    assert "".join(lines) == "x" * 100
    assert all(width_of(line, 20) <= 100 for line in lines)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200) | st.text("永“”a —…。", max_size=200), st.integers(7, 40), st.integers(60, 600))
def test_no_line_is_wider_than_its_box(text: str, size: int, width: int) -> None:
    assert all(width_of(line, size) <= width + size * 2 for line in wrapped(text, size, width))
    assert width_of(shortened(text, size, width), size) <= width + size


def test_text_that_does_not_fit_ends_with_an_ellipsis() -> None:
    lines = clipped(wrapped("word " * 50, 20, 100), 3, 20, 100)
    assert len(lines) == 3
    assert lines[-1].endswith("…")


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=400), st.integers(16, 200), st.integers(16, 200))
def test_any_text_can_be_drawn(prompt: str, width: int, height: int) -> None:
    placeholder = replace(FOX, prompt=prompt, negative_prompt=prompt, width=width, height=height)
    assert opened(draw(placeholder)).size == (width, height)


def test_very_long_words_are_truncated_before_measuring() -> None:
    """A prompt of a megabyte must not hold the thread."""
    long = replace(FOX, prompt="永和" * 500_000, negative_prompt="i" * 1_000_000)
    cut = replace(FOX, prompt="永和" * 2_000, negative_prompt="i" * 1_000)
    assert differs(draw(replace(long, prompt="fox")), draw(replace(cut, prompt="fox"))) is None
    assert opened(draw(long)).size == (320, 240)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ({}, (1024, 1024)),
        ({"width": 300, "height": 200}, (300, 200)),
        ({"width": 300, "height": 200, "aspect_ratio": "1:1"}, (300, 200)),
        ({"aspect_ratio": "16:9"}, (1365, 768)),
    ],
)
def test_the_requested_shape_is_drawn(shape: dict[str, object], size: tuple[int, int], clock: FakeClock) -> None:
    (image,) = backend(clock).invoke(ask(**shape)).images
    assert image.size == size


def test_several_images_have_consecutive_seeds(clock: FakeClock) -> None:
    images = backend(clock).invoke(ask(n=3, seed=41, width=64, height=64)).images
    assert [image.seed for image in images] == [41, 42, 43]
    assert len({image.data for image in images}) == 3


def test_a_random_seed_is_reported(clock: FakeClock) -> None:
    seeds = {backend(clock).invoke(ask(width=64, height=64)).images[0].seed for _ in range(3)}
    assert len(seeds) == 3


def test_without_a_simulated_duration_the_result_is_immediate(clock: FakeClock) -> None:
    outcome = backend(clock).submit(ask(width=64, height=64, notices=("Told before.",)))
    assert isinstance(outcome, ImageResult)
    assert (outcome.backend, outcome.model, outcome.notices) == ("preview", "preview", ("Told before.",))
    assert clock.pauses == []


def test_a_simulated_job_is_finished_by_another_process(clock: FakeClock) -> None:
    """The host stores the state as JSON with float64 numbers; the largest seed keeps its digits."""
    job = backend(clock).submit(slow(10, seed=MAX_SEED, width=64, height=64, notices=("Told before.",)))
    assert isinstance(job, dict)
    travelled: dict[str, JsonValue] = json.loads(json.dumps(job), parse_int=float)
    assert backend(clock).check(travelled) == Running("step 0/30")
    clock.time += 5
    assert backend(clock).check(travelled) == Running("step 15/30")
    clock.time += 5
    result = backend(clock).check(travelled)
    assert isinstance(result, ImageResult)
    assert result.images == backend(clock).invoke(ask(seed=MAX_SEED, width=64, height=64)).images
    assert result.notices == ("Told before.",)


def test_a_simulated_job_takes_its_duration(clock: FakeClock) -> None:
    started = clock.now()
    backend(clock).invoke(slow(90, width=64, height=64))
    assert 90 <= clock.now() - started < 92


def test_a_timeout_reports_the_last_known_progress(clock: FakeClock) -> None:
    with pytest.raises(ConnectionFailed, match=r"last known state: step 15/30"):
        backend(clock).invoke(slow(100, timeout=50))


def test_a_simulated_job_with_images_gives_a_notice(clock: FakeClock) -> None:
    photo = InputImage(image_file(), "image/png", "a.png")
    job = backend(clock).submit(slow(10, images=(photo,)))
    assert isinstance(job, dict)
    assert "not used" in str(job["notices"])
    assert len(json.dumps(job)) < 1000


def test_a_mask_keeps_every_other_pixel(clock: FakeClock) -> None:
    photo = InputImage(image_file(256, 256, colour=(255, 0, 255)), "image/png", "a.png")
    half = Image.new("L", (256, 256))
    half.paste(255, (128, 0, 256, 256))
    mask = InputImage(file_of(half), "image/png", "mask.png")
    (made,) = backend(clock).invoke(ask(seed=1, images=(photo,), mask=mask)).images
    box = differs(photo.data, made.data)
    assert made.size == (256, 256)
    assert box is not None
    assert box[0] >= 128


def test_an_empty_mask_changes_nothing() -> None:
    shirt = InputImage(SHIRT, "image/png")
    mask = InputImage(file_of(Image.new("L", (320, 240))), "image/png")
    made = backend(FakeClock()).submit(ask(images=(shirt,), mask=mask))
    assert isinstance(made, ImageResult)
    assert opened(made.images[0].data).tobytes() == opened(SHIRT).tobytes()


@pytest.mark.parametrize(("size", "made"), [((300, 200), (300, 200)), ((8, 8), (16, 16)), ((5000, 1000), (4096, 819))])
def test_an_edit_has_the_size_of_its_image(size: tuple[int, int], made: tuple[int, int], clock: FakeClock) -> None:
    photo = InputImage(image_file(*size), "image/png", "a.png")
    (image,) = backend(clock).invoke(ask(images=(photo,))).images
    assert image.size == made


def test_an_edit_may_have_a_size_of_its_own(clock: FakeClock) -> None:
    photo = InputImage(image_file(300, 200), "image/png", "a.png")
    (image,) = backend(clock).invoke(ask(images=(photo,), width=128, height=64)).images
    assert image.size == (128, 64)


def test_a_style_preset_changes_the_image_and_survives_a_job(clock: FakeClock) -> None:
    plain = backend(clock).invoke(ask(seed=1, width=96, height=96)).images[0].data
    styled = backend(clock).invoke(ask(seed=1, width=96, height=96, style_preset="line-art")).images[0].data
    later = backend(clock).invoke(slow(5, seed=1, width=96, height=96, style_preset="line-art")).images[0].data
    assert differs(plain, styled) is not None
    assert styled == later


def test_too_many_images_are_refused(clock: FakeClock) -> None:
    photo = InputImage(image_file(), "image/png")
    with pytest.raises(BadRequest, match="at most 8"):
        backend(clock).invoke(ask(images=(photo,) * 9))
