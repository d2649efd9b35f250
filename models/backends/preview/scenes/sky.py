"""Above the horizon: the light of a time and weather, sun and moon, clouds; and what falls through the whole image."""

import math

from models.backends.preview.scenes.canvas import Paint, Shape, box, ellipse
from models.backends.preview.scenes.colours import WHITE, mix, parsed, shaded
from models.backends.preview.scenes.grounds import stars
from models.backends.preview.scenes.reading import Entry, SceneReading, table
from models.backends.preview.scenes.stage import Light, Stage
from models.images.lettering import Colour

_RAINBOW: tuple[Colour, ...] = (
    *((226, 92, 92), (240, 160, 84), (246, 220, 104), (112, 190, 120), (92, 150, 214), (150, 108, 190)),
)


def light_for(reading: SceneReading, pick: int) -> Light:
    """The light of a prompt; where it says nothing, `pick` decides, mostly for a day."""
    named = reading.time or next((str(table("weather")[name].get("time", "")) for name in reading.weather), "")
    time = named or ("day", "day", "day", "dawn", "sunset")[pick % 5]
    skies = table("times")[time]["skies"]
    sky: Entry = skies[pick // 5 % len(skies)]
    if time == "day" or not named:
        weather = table("weather")
        sky = next((weather[name]["sky"] for name in reading.weather if "sky" in weather[name]), sky)
    top, middle, horizon = (parsed(text) for text in sky["sky"])
    return Light(
        (top, middle, horizon),
        parsed(sky["light"]),
        parsed(sky["sun"]),
        bool(sky.get("dark")),
        "rain" in reading.weather,
    )


def sky(stage: Stage, reading: SceneReading, time: str) -> None:
    """The sky down to the horizon, and a little further for what is transparent there."""
    top, middle, low = stage.light.sky
    knee = stage.horizon * 0.55
    stage.plain(box(0, 0, stage.width, knee + 1), top, below=middle)
    stage.plain(box(0, knee, stage.width, stage.height - knee), middle, below=low)
    stage.plain(box(0, knee, stage.width, stage.horizon - knee + stage.unit * 0.02), middle, below=low)
    if stage.light.dark:
        stars(stage, 70, stage.horizon * 0.85)
    if "aurora" in reading.weather:
        _aurora(stage)
    sun = None if stage.light.dull else _sun(stage, low=time in {"dawn", "sunset"})
    if "rainbow" in reading.weather:
        _rainbow(stage)
    _clouds(stage, reading, sun)


def _sun(stage: Stage, *, low: bool) -> tuple[float, float]:
    """Returns its middle."""
    x = stage.width * stage.roll(0.14, 0.86)
    y = stage.horizon * (stage.roll(0.72, 0.9) if low else stage.roll(0.2, 0.42))
    radius = stage.unit * (0.075 if low else 0.05)
    stage.glow(x, y, radius * (7 if low else 5), stage.light.sun, 0.55 if low else 0.4)
    stage.glow(x, y, radius * 2.4, stage.light.sun, 0.7)
    stage.plain(ellipse(x, y, radius, radius), stage.light.sun)
    if stage.light.dark:
        for across, down, size in ((-0.3, -0.2, 0.22), (0.25, 0.3, 0.28), (0.35, -0.4, 0.14), (-0.25, 0.45, 0.13)):
            crater = ellipse(x + radius * across, y + radius * down, radius * size, radius * size)
            stage.plain(crater, shaded(stage.light.sun, -10), 0.7)
    return x, y


def _clouds(stage: Stage, reading: SceneReading, sun: tuple[float, float] | None) -> None:
    low = stage.light.sky[2]
    colour = mix(stage.light.sky[1], low, 0.5) if stage.light.dark else mix(low, WHITE, 0.45)
    heavy = {"clouds", "rain", "wind"} & set(reading.weather)
    count = round((6 if heavy else stage.dice.randint(2, 3)) * min(2.5, max(1.0, stage.width / stage.unit)))
    for number in range(count):
        y = stage.horizon * stage.roll(0.1, 0.72)
        across = stage.unit * stage.roll(0.2, 0.44) * (1.25 if heavy else 1)
        x = stage.width * (number + stage.roll(0.1, 0.9)) / count
        if sun and math.hypot(sun[0] - x, (sun[1] - y) * 2) < across * 0.75:
            continue  # it would hide the sun
        stage.cloud(
            x, y, across, shaded(colour, -14) if stage.light.dull else colour, 0.32 if stage.light.dark else 0.88
        )


def _rainbow(stage: Stage) -> None:
    x, y = stage.width * stage.roll(0.3, 0.7), stage.horizon + stage.unit * 0.06
    reach, thick = stage.unit * 0.62, stage.unit * 0.02
    for number, colour in enumerate(_RAINBOW):
        radius = reach - thick * number
        outer = [(x + radius * math.cos(a), y - radius * math.sin(a)) for a in _arc()]
        inner = [(x + (radius - thick) * math.cos(a), y - (radius - thick) * math.sin(a)) for a in reversed(_arc())]
        stage.plain([*outer, *inner], colour, 0.5)


def _arc() -> list[float]:
    return [math.pi * number / 60 for number in range(61)]


def _aurora(stage: Stage) -> None:
    for colour, lift in (((90, 240, 170), 0.52), ((120, 170, 250), 0.36), ((190, 110, 230), 0.26)):
        phase = stage.roll(0, math.tau)
        for number in range(46):
            share = number / 45
            x = stage.width * (share * 1.2 - 0.1)
            y = stage.horizon * (lift + 0.12 * math.sin(phase + 5 * share))
            tall = stage.horizon * (0.24 + 0.1 * math.sin(phase + 17 * share))
            stage.glow(x, y, stage.width * 0.045, colour, 0.3, down=tall)


def fallen(stage: Stage, reading: SceneReading) -> None:
    """Rain, snow, fog, leaves and petals in front of everything."""
    if "fog" in reading.weather:
        for row in range(5):
            y = stage.horizon + stage.unit * (0.14 * row - 0.16)
            x = stage.width * stage.roll(0.1, 0.9)
            stage.glow(x, y, stage.width * 0.8, mix(stage.light.sky[2], WHITE, 0.4), 0.5, down=stage.unit * 0.2)
    if "rain" in reading.weather:
        _rain(stage)
    if "snow" in reading.weather:
        for _ in range(_amount(stage, 170)):
            radius = stage.unit * 0.0055 * stage.roll(0.3, 1.6)
            stage.plain(ellipse(*_anywhere(stage), radius, radius), WHITE, stage.roll(0.5, 0.95))
    season = next((name for name in ("autumn", "spring") if name in reading.weather), "")
    for _ in range(_amount(stage, 46) if season else 0):
        x, y = _anywhere(stage)
        half = stage.unit * stage.roll(0.006, 0.013)
        leaf = [(x - half, y), (x, y - half * 0.6), (x + half, y + half * 0.4), (x, y + half * 0.7)]
        stage.plain(leaf, stage.light.on(parsed(stage.dice.choice(table("weather")[season]["leaves"]))), 0.95)


def _rain(stage: Stage) -> None:
    """Slanting drops of one direction."""
    lean, polygons = stage.roll(0.12, 0.3), []
    for _ in range(_amount(stage, 230)):
        x, y = _anywhere(stage)
        length, thick = stage.unit * stage.roll(0.02, 0.06), stage.unit * 0.0014
        polygons.append(
            [(x, y), (x + thick, y), (x + thick - length * lean, y + length), (x - length * lean, y + length)]
        )
    stage.items.append(Shape(polygons, Paint((232, 240, 248), 0.55)))


def _amount(stage: Stage, count: int) -> int:
    return round(count * min(3.0, max(stage.width, stage.height) / stage.unit))


def _anywhere(stage: Stage) -> tuple[float, float]:
    return stage.roll(0, stage.width), stage.roll(0, stage.height)
