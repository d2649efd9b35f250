"""Where everything goes: from a reading to the shapes of a scene."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.backends.preview.scenes.canvas import box, ellipse
from models.backends.preview.scenes.colours import mix, named, parsed, shaded, turned
from models.backends.preview.scenes.far import FAR, LEAVES
from models.backends.preview.scenes.grounds import FLOOR, GROUNDS, INDOORS
from models.backends.preview.scenes.reading import Element, Entry, SceneReading, subjects, table
from models.backends.preview.scenes.sky import fallen, light_for, sky
from models.backends.preview.scenes.stage import Stage
from models.images.lettering import Colour

_OPEN = ("meadow", "mountains", "lake", "sea", "forest", "desert", "village", "beach", "garden", "snowfield", "city")
"""Where a prompt plays that names nothing known."""
_ACCENTS = ("red", "orange", "gold", "teal", "blue", "purple", "pink", "mint", "brick", "navy")
_HORIZON = 0.64
_WIDEST = 0.86  # share of the width that subjects may take together
_SNOW: Colour = (238, 243, 250)


@dataclass(frozen=True, slots=True)
class _Standing:
    """One drawing to be placed; `height` in pixels."""

    entry: Entry
    colour: Colour
    height: float

    @property
    def width(self) -> float:
        across, down = self.entry["box"]
        return self.height * float(across) / float(down)


def composed(reading: SceneReading, width: int, height: int, dice: random.Random) -> Stage:
    """A scene that fills the image."""
    places = _places(reading, dice)
    ground_place = next((place for place in places if place.get("firm")), places[0])
    light = light_for(reading, dice.randint(0, 999))
    stage = Stage(width, height, height * float(ground_place.get("horizon", _HORIZON)), light, dice)
    leaves = _leaves(reading)
    stage.ground = _ground(reading, ground_place)
    stage.backdrop = next((named()[wanted.colour] for wanted in reading.places if wanted.colour), None)
    stage.main = _main(reading, dice)
    if ground_place["ground"] not in INDOORS:
        sky(stage, reading, reading.time)
        for layer in dict.fromkeys(layer for place in places for layer in place.get("far", ())):
            FAR[layer](stage, leaves)
    GROUNDS[ground_place["ground"]](stage)
    frozen = "snow" in reading.weather
    _near(stage, [layer for place in places for layer in place.get("near", ())], leaves, behind=True, frozen=frozen)
    _subjects(stage, reading, ground_place)
    _near(stage, [layer for place in places for layer in place.get("near", ())], leaves, behind=False, frozen=frozen)
    if ground_place["ground"] not in INDOORS or ground_place["ground"] == "wall":
        fallen(stage, reading)
    return stage


def _places(reading: SceneReading, dice: random.Random) -> list[Entry]:
    known = table("places")
    named_places = [known[wanted.name] for wanted in reading.places]
    if named_places:
        return named_places
    fitting = [name for wanted in reading.subjects for name in subjects()[wanted.name].get("place", ())]
    first = subjects()[reading.subjects[0].name].get("place", ()) if reading.subjects else ()
    outside = bool(reading.weather) or reading.time in {"dawn", "sunset"}
    choices = [name for name in first or fitting or _OPEN if not (outside and known[name]["ground"] in INDOORS)]
    return [known[dice.choice(choices or ["meadow"])]]


def _leaves(reading: SceneReading) -> list[Colour]:
    seasons = (table("weather")[name].get("leaves") for name in reading.weather)
    found = next((leaves for leaves in seasons if leaves), None)
    return [parsed(text) for text in found] if found else LEAVES


def _ground(reading: SceneReading, place: Entry) -> Colour:
    own = next((wanted.colour for wanted in reading.places if wanted.colour), "")
    colour = named()[own] if own else parsed(place.get("colour", "#8fae7a"))
    if place["ground"] in {"land", "rows"}:
        seasons = (table("weather")[name].get("ground") for name in reading.weather)
        colour = next((mix(colour, parsed(tint), 0.75) for tint in seasons if tint), colour)
    if "snow" in reading.weather and place["ground"] in {"land", "rows", "street", "dune", "shore"}:
        colour = mix(colour, _SNOW, 0.82)
    return colour


def _main(reading: SceneReading, dice: random.Random) -> Colour:
    """The colour of the first subject: as named, or one that goes with everything."""
    accent = dice.choice(_ACCENTS)
    first = reading.subjects[0] if reading.subjects else None
    if first and first.colour:
        return named()[first.colour]
    if reading.colours:
        return named()[reading.colours[0]]
    return named()[str(subjects()[first.name].get("main") or accent) if first else accent]


def placed(stage: Stage, wanted: Sequence[Element], *, fill: bool = False) -> None:
    """Subjects alone, in front of what there is; with `fill` as large as fits."""
    group = []
    for one in wanted:
        entry = subjects()[one.name]
        standing = _Standing(entry, _colour(one, entry, stage.dice), stage.unit * float(entry["size"]) * 0.8)
        if fill:
            largest = stage.height * 0.86, stage.width * 0.92 / len(wanted) * standing.height / standing.width
            standing = replace(standing, height=min(largest))
        group += [standing] * one.count
    in_sky = [one for one in group if one.entry["stand"] == "sky" and not fill]
    _above(stage, in_sky)
    _standing(stage, [one for one in group if one not in in_sky], {"ground": "none"})


def _subjects(stage: Stage, reading: SceneReading, place: Entry) -> None:
    groups: dict[str, list[_Standing]] = {}
    for number, wanted in enumerate(reading.subjects):
        entry = subjects()[wanted.name]
        colour = stage.main if number == 0 else _colour(wanted, entry, stage.dice)
        share = float(entry["size"]) * (1.0 if number else 1.22) * stage.roll(0.95, 1.06)
        height = stage.unit * share * (1.0 if wanted.count == 1 else 0.76)
        one = _Standing(entry, colour, height)
        many = [
            _Standing(entry, _varied(colour, wanted, stage), height * stage.roll(0.82, 1.08))
            for _ in range(wanted.count - 1)
        ]
        stand = "sky" if place["ground"] == "underwater" and wanted.name == "fish" else entry["stand"]
        groups.setdefault(stand if stand in {"sky", "water", "portrait"} else "ground", []).extend([one, *many])
    _above(stage, groups.get("sky", []))
    _afloat(stage, groups.get("water", []), wet=place["ground"] in {"water", "shore"})
    for standing in groups.get("portrait", []):
        _portrait(stage, standing)
    _standing(stage, groups.get("ground", []), place)


def _colour(wanted: Element, entry: Entry, dice: random.Random) -> Colour:
    accent = dice.choice(_ACCENTS)
    return named()[wanted.colour or str(entry.get("main") or accent)]


def _varied(colour: Colour, wanted: Element, stage: Stage) -> Colour:
    """The colour of another one of the same kind."""
    hues = (-0.06, 0.08, 0.14, 0.5) if subjects()[wanted.name].get("hues") and not wanted.colour else (-0.015, 0.02)
    return turned(shaded(colour, stage.roll(-10, 12)), stage.dice.choice(hues))


def _draw(stage: Stage, standing: _Standing, at: tuple[float, float], scale: float = 1.0) -> None:
    mirrored = stage.dice.random() < 0.5  # noqa: PLR2004 -- either way
    entry = standing.entry
    stage.art(entry["art"], entry["box"], at, standing.height * scale, main=standing.colour, mirrored=mirrored)


def _above(stage: Stage, group: list[_Standing]) -> None:
    """In the sky, each in its own part of the width and not at one height."""
    for number, standing in enumerate(group):
        scale = min(1.0, stage.width * _WIDEST / max(1, len(group)) / standing.width)
        middle = stage.width * (number + 0.5) / len(group)
        x = middle + stage.roll(-0.12, 0.12) * stage.width / len(group)
        y = stage.height * stage.roll(0.3, 0.42) + standing.height * scale / 2
        _draw(stage, standing, (x, min(y, stage.height * 0.8)), scale)


def _afloat(stage: Stage, group: list[_Standing], *, wet: bool) -> None:
    for number, standing in enumerate(group):
        scale = min(1.0, stage.width * _WIDEST / max(1, len(group)) / standing.width)
        x = stage.width * (number + stage.roll(0.36, 0.64)) / len(group)
        depth = stage.height - stage.horizon
        y = stage.horizon + depth * (stage.roll(0.28, 0.4) if wet else 0.5)
        if wet:
            half = standing.width * scale
            stage.glow(x, y, half * 0.62, shaded(stage.light.on(stage.ground), -45), 0.6, down=half * 0.1)
        _draw(stage, standing, (x, y), scale)


def _portrait(stage: Stage, standing: _Standing) -> None:
    height = min(stage.height * 0.84, stage.width * 0.95 / standing.width * standing.height)
    _draw(stage, standing, (stage.width * stage.roll(0.46, 0.54), stage.height * 1.0), height / standing.height)


def _standing(stage: Stage, group: list[_Standing], place: Entry) -> None:
    """Side by side on the ground, together no wider than the image."""
    if not group:
        return
    floor = stage.floor or stage.height * FLOOR
    flat = [one for one in group if one.entry["stand"] in {"table", "show"}]
    if flat and place["ground"] not in {*INDOORS, "none"}:
        floor = _plank(stage)
    elif place["ground"] == "water":
        _bank(stage)
        floor = stage.height * FLOOR
    if flat and place["ground"] == "studio":
        _plinth(stage, floor, sum(one.width for one in group))
    total = sum(one.width for one in group) * 1.06
    scale = min(1.0, stage.width * _WIDEST / total)
    free = max(0.0, stage.width * 0.94 - total * scale)
    left = stage.width * 0.03 + free * (stage.roll(0.3, 0.7) if place["ground"] != "studio" else 0.5)
    stage.dice.shuffle(group)
    for one in group:
        wide = one.width * scale
        y = floor + (stage.roll(-0.012, 0.03) * stage.unit if len(group) > 1 else 0.0)
        stage.shadow(left + wide / 2, y, wide * 0.62)
        _draw(stage, one, (left + wide / 2, y), scale)
        left += wide * 1.06


def _plank(stage: Stage) -> float:
    """A table in front of what is outdoors; returns the height of its top."""
    top = stage.height * 0.8
    wood = stage.light.on((190, 136, 92))
    stage.plain(box(0, top, stage.width, stage.height - top + 1), shaded(wood, 10), below=shaded(wood, -30))
    stage.plain(box(0, top, stage.width, stage.unit * 0.012), shaded(wood, 34))
    return stage.height * 0.85


def _bank(stage: Stage) -> None:
    """Land in front of open water."""
    green = stage.light.on((122, 182, 98))
    stage.ridge(stage.height * 0.8, stage.unit * 0.02, green, shaded(green, -24), waves=0.5)


def _plinth(stage: Stage, floor: float, width: float) -> None:
    half, tall = min(stage.width * 0.46, max(width * 0.62, stage.unit * 0.2)), stage.unit * 0.06
    tone = shaded(stage.ground, 30)
    for y, colour in ((floor + tall, shaded(tone, -22)), (floor, tone)):
        if colour != tone:
            stage.plain(box(stage.width / 2 - half, floor, 2 * half, tall), tone, below=shaded(tone, -24))
        stage.plain(ellipse(stage.width / 2, y, half, half * 0.13), colour)


def _near(stage: Stage, layers: Sequence[str], leaves: list[Colour], *, behind: bool, frozen: bool) -> None:
    """What grows around the subjects: trunks and palms behind them at the sides, grass and flowers in front."""
    if behind and "trunks" in layers:
        for share in (stage.roll(-0.02, 0.14), stage.roll(0.2, 0.3), stage.roll(0.7, 0.8), stage.roll(0.86, 1.02)):
            _plant(stage, "tree", share, stage.unit * stage.roll(0.5, 0.78), leaves, stage.horizon + stage.unit * 0.08)
    for name in ("palm", "cactus"):
        if behind and name in layers:
            share = stage.dice.choice((stage.roll(0.02, 0.16), stage.roll(0.84, 0.98)))
            size = stage.unit * stage.roll(0.5, 0.62) * (1.0 if name == "palm" else 0.5)
            _plant(stage, name, share, size, [named()["green"]], stage.horizon + (stage.height - stage.horizon) * 0.62)
    if not behind and "tufts" in layers:
        for _ in range(round(16 * min(3.0, stage.width / stage.unit))):
            _tuft(
                stage,
                stage.roll(0, stage.width),
                stage.roll(0.83, 0.99) * stage.height,
                stage.unit * stage.roll(0.012, 0.035),
            )
    if "blooms" in layers and not frozen:
        low, high = (
            (stage.horizon + stage.unit * 0.06, stage.height * 0.8) if behind else (stage.height * 0.9, stage.height)
        )
        for _ in range(round((40 if behind else 16) * min(3.0, stage.width / stage.unit))):
            y = stage.roll(low, high)
            nearness = (y - stage.horizon) / (stage.height - stage.horizon)
            colour = named()[stage.dice.choice(("pink", "red", "yellow", "white", "purple", "orange"))]
            _plant(stage, "flower", stage.roll(0, 1), stage.unit * (0.04 + 0.1 * nearness), [colour], y)


def _plant(stage: Stage, name: str, share: float, size: float, colours: list[Colour], y: float) -> None:
    entry = subjects()[name]
    mirrored = stage.dice.random() < 0.5  # noqa: PLR2004
    at = (stage.width * share, y)
    stage.art(entry["art"], entry["box"], at, size, main=stage.dice.choice(colours), mirrored=mirrored)


def _tuft(stage: Stage, x: float, y: float, size: float) -> None:
    colour = shaded(stage.light.on(stage.ground), stage.roll(-34, -16))
    for lean in (-0.7, -0.2, 0.3, 0.8):
        tip = (x + size * lean, y - size * (1.1 - abs(lean) * 0.4))
        stage.plain([(x - size * 0.1, y), tip, (x + size * 0.12, y)], colour)
