"""The scenes of the preview: every word of the lists is read and draws something, in every style, shape and size."""

import io
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from models.backends.preview.scenes import SceneOrder, scene
from models.backends.preview.scenes.art import drawing, paint_of
from models.backends.preview.scenes.canvas import Paint, Shape, box, rasterised
from models.backends.preview.scenes.reading import Element, read, subjects, table
from models.backends.preview.scenes.styles import style_of

BASE = "something"
LISTS = ("places", "times", "weather", "colours", "styles")


def small(prompt: str, seed: int = 3, style: str = "", size: tuple[int, int] = (72, 72)) -> Image.Image:
    return scene(SceneOrder(prompt=prompt, width=size[0], height=size[1], seed=seed, style=style))


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of the pixels, of 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def entries() -> list[tuple[str, str, str]]:
    """List, name and first word of every entry that a prompt can ask for."""
    known = {"subjects": subjects(), **{name: table(name) for name in LISTS}}
    return [
        (kind, name, str(entry["words"][0]))
        for kind, listed in known.items()
        for name, entry in listed.items()
        if entry.get("words")
    ]


@pytest.mark.parametrize(("kind", "name", "word"), entries(), ids=str)
def test_every_entry_draws_something_of_its_own(kind: str, name: str, word: str) -> None:
    """The dice depend on the prompt, so both prompts have the same words but one in which nothing is known."""
    found = read(word)
    said = {
        "subjects": [element.name for element in found.subjects],
        "places": [element.name for element in found.places],
        "times": [found.time],
        "weather": list(found.weather),
        "colours": list(found.colours),
        "styles": [found.style],
    }
    assert said[kind] == [name]
    assert difference(small(f"{BASE} {word}"), small(f"{BASE} {'z' * len(word)}")) > 1


def test_every_word_belongs_to_one_entry() -> None:
    lists = [subjects(), *(table(name) for name in LISTS)]
    words = Counter(str(word) for listed in lists for entry in listed.values() for word in entry.get("words", ()))
    assert {word for word, count in words.items() if count > 1} == set()
    assert {word for word in words if word != word.casefold()} == set()


@pytest.mark.parametrize("name", subjects())
def test_every_drawing_stays_near_its_box(name: str) -> None:
    entry = subjects()[name]
    across, down = entry["box"]
    points = [point for part in drawing(entry["art"]) for polygon in part.polygons for point in polygon]
    assert all(-0.12 * across <= x <= 1.12 * across and -0.12 * down <= y <= 1.06 * down for x, y in points)
    assert max(y for _, y in points) > 0.85 * down, "it stands on its lower edge"


@pytest.mark.parametrize(
    ("prompt", "elements"),
    [
        ("A red bicycle leaning on a white wall", [Element("bicycle", "red")]),
        ("红色的自行车靠在白墙上", [Element("bicycle", "red")]),
        ("three black cats and a dog", [Element("cat", "black", 3), Element("dog")]),
        ("两只橘猫", [Element("cat", "", 2)]),
        ("hot air balloons", [Element("balloon", "", 3)]),
        ("a car in blue", [Element("car", "blue")]),
        ("the category of carpets", []),
        ("a cat, a dog, a car, a tree and a house", [Element("cat"), Element("dog"), Element("car"), Element("tree")]),
        ("five cats and 3 dogs", [Element("cat", "", 5), Element("dog", "", 3)]),
        ("two old and rather a cats", [Element("cat", "", 2)]),
        ("two old and rather an cats", [Element("cat", "", 3)]),
        ("red old and rather a cat, dog", [Element("cat", "red"), Element("dog")]),
        ("red old and rather an cat, dog", [Element("cat"), Element("dog")]),
        ("a cat and a blue cat", [Element("cat")]),
        ("portrait of a woman", [Element("portrait")]),
        ("a hot-air balloon", [Element("balloon")]),
        (f"{'x ' * 1998}cat", [Element("cat")]),
        (f"{'x ' * 1999}cat", []),
        ("海报，前面有画面", []),
    ],
)
def test_colours_and_numbers_belong_to_what_they_stand_before(prompt: str, elements: list[Element]) -> None:
    assert list(read(prompt).subjects) == elements


@pytest.mark.parametrize(
    ("prompt", "colours"),
    [
        ("red and blue", ("red", "blue")),
        ("a cat and a dog, red", ("red",)),
        ("red, blue cat, dog, green", ("red", "green")),
        ("a cat in red and in blue", ("red", "blue")),
        ("a white cat, red", ("red",)),
        ("red, and then at last a cat and a dog", ("red",)),
        ("a cat, red", ()),
    ],
)
def test_other_colours_belong_to_no_subject(prompt: str, colours: tuple[str, ...]) -> None:
    assert read(prompt).colours == colours


def test_times_weather_and_style_are_read_beside_the_rest() -> None:
    found = read("a city in the rain and fog, more rain, at night, then dawn, as a watercolor, anime")
    assert (found.time, found.weather, found.style) == ("night", ("rain", "fog"), "watercolor")
    assert (found.places, found.subjects) == ((Element("city"),), ())


def test_a_word_within_another_one_is_not_read() -> None:
    assert read("海报") == read("something")
    assert read("灯塔").subjects == (Element("lighthouse"),)
    assert read("火车").subjects == (Element("train"),)


def test_words_in_quotes_are_lettered_and_not_drawn() -> None:
    found = read('a poster with "Blue Cat" and “红色的猫” on a wall')
    assert found.lettering == ("Blue Cat", "红色的猫")
    assert (found.subjects, found.places) == ((), (Element("wall"),))
    assert difference(small('"Hello"', size=(200, 200)), small("(Hello)", size=(200, 200))) > 1


def test_a_style_by_parameter_wins_over_the_prompt() -> None:
    assert read("pixel art of a cat").style == "pixel-art"
    assert read("pixel art of a cat", "anime").style == "anime"
    assert read("a cat", "watercolour").style == "watercolor"
    assert read("a cat", "unknown").style == ""


def test_the_same_order_gives_the_same_pixels() -> None:
    for style in ("", "watercolor", "oil-painting", "low-poly"):
        assert (
            small("a fox in the forest", style=style).tobytes() == small("a fox in the forest", style=style).tobytes()
        )


def test_seed_and_painter_change_the_composition() -> None:
    scenes = [small("a fox", seed) for seed in range(3)]
    scenes.append(scene(SceneOrder(prompt="a fox", width=72, height=72, painter="another model")))
    assert all(difference(one, other) > 2 for one, other in pairwise(scenes))


@pytest.mark.parametrize("style", table("styles"))
def test_every_style_differs_from_the_others(style: str) -> None:
    """Where the shapes are the same, the pixels are not."""
    plain = small("a house in the mountains", size=(160, 160))
    assert difference(plain, small("a house in the mountains", style=style, size=(160, 160))) > 0.4
    assert style_of(style) != style_of("")


@pytest.mark.parametrize("size", [(16, 16), (400, 100), (100, 400), (64, 17), (300, 299)])
@pytest.mark.parametrize(
    "prompt", ["two cars in the city", "portrait of a robot", "fish underwater", "coffee", "oil painting of boats"]
)
def test_every_shape_is_filled(prompt: str, size: tuple[int, int]) -> None:
    image = small(prompt, size=size)
    assert image.size == size
    corners = [(0, 0), (size[0] - 1, 0), (0, size[1] - 1), (size[0] - 1, size[1] - 1)]
    assert all(image.getpixel(corner) != (0, 0, 0) for corner in corners)


def test_a_large_image_is_drawn_sharp() -> None:
    """In bands that do not show: the large image, reduced, is the small one, and its edges are narrow."""
    large = scene(SceneOrder(prompt="a lighthouse on the beach", width=2048, height=2048, seed=1))
    shape = Shape([box(100, 100, 1800, 1800)], Paint((255, 255, 255)))
    column = rasterised([shape], 2048, 2048).crop((1000, 90, 1001, 110)).convert("L")
    assert len({*column.get_flattened_data()} - {0, 255}) <= 1
    reduced = large.resize((256, 256), Image.Resampling.BOX)
    expected = scene(SceneOrder(prompt="a lighthouse on the beach", width=256, height=256, seed=1))
    assert difference(reduced, expected) < 4


def test_what_is_drawn_over_an_image_keeps_the_rest() -> None:
    below = Image.frombytes("RGB", (90, 90), bytes(index % 251 for index in range(90 * 90 * 3)))
    drawn = rasterised([Shape([box(10, 10, 20, 20)], Paint((255, 0, 0)))], 90, 90, over=below.copy())
    bounds = ImageChops.difference(below, drawn).getbbox()
    assert bounds is not None
    assert bounds[0] >= 10
    assert bounds[2] <= 31


def test_paints_are_checked() -> None:
    with pytest.raises(ValueError, match="is no paint"):
        paint_of("Red!!", {}, lambda colour: colour)
    with pytest.raises(KeyError):
        paint_of("unknown", {}, lambda colour: colour)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=120), st.integers(1, 120), st.integers(1, 120), st.sampled_from([*table("styles"), ""]))
def test_any_words_can_be_drawn_in_any_size(prompt: str, width: int, height: int, style: str) -> None:
    image = small(prompt, style=style, size=(width, height))
    image.save(io.BytesIO(), "PNG")
    assert image.size == (width, height)
