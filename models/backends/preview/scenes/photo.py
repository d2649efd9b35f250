"""Work on images that exist already: cut out, fill, extend, colour anew, draw in the manner of a style."""

import colorsys
import math

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from models.backends.preview.scenes.styles import Style
from models.images.lettering import Colour

type Box = tuple[int, int, int, int]

_SMALL = 320  # pixels of the longer side at which an image is looked at
_ALIKE = 42  # difference of neighbouring colours within one background
_LEAST, _MOST = 0.04, 0.94  # share of an image that a subject in front of a plain background takes
_VIVID = (
    150,
    90,
)  # saturation of 255 from which a surface has a colour of its own; the second where nothing has the first
_NEAR = 18  # of 255: hues that count as one colour
_GREY = 0.12  # saturation of a colour below which it is a grey


def covering(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image in that size; what does not fit is cut off at both sides."""
    return image.copy() if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def extended(image: Image.Image, size: tuple[int, int], at: tuple[int, int] | None = None) -> tuple[Image.Image, Box]:
    """The image on a larger canvas, its edges continued by their reflection, and where the image lies.

    Without `at` it is made as large as fits and stands in the middle.
    """
    if at is None:
        image = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
        at = (size[0] - image.width) // 2, (size[1] - image.height) // 2
    canvas = Image.new("RGB", size)
    for column in _tiles(at[0], image.width, size[0]):
        for row in _tiles(at[1], image.height, size[1]):
            tile = ImageOps.mirror(image) if column % 2 else image
            tile = ImageOps.flip(tile) if row % 2 else tile
            canvas.paste(tile, (at[0] + column * image.width, at[1] + row * image.height))
    return canvas, (at[0], at[1], at[0] + image.width, at[1] + image.height)


def _tiles(start: int, length: int, room: int) -> range:
    """The numbers of the tiles that cover a length of `room` if tile 0 begins at `start`."""
    return range(-math.ceil(start / length), math.ceil((room - start) / length))


def filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image with the masked part replaced by a smooth continuation of what surrounds it."""
    known = image.convert("RGBA")
    known.putalpha(ImageOps.invert(mask))
    size, fill = (1, 1), known.resize((1, 1), Image.Resampling.BOX)
    fill.putalpha(255)
    while size != image.size:
        size = min(image.width, size[0] * 2), min(image.height, size[1] * 2)
        level = known.resize(size, Image.Resampling.BOX)
        level.putalpha(level.getchannel("A").point(lambda value: min(255, value * 3)))
        fill = Image.alpha_composite(fill.resize(size, Image.Resampling.BICUBIC), level)
    return fill.convert("RGB")


def foreground(image: Image.Image) -> Image.Image | None:
    """A mask of what stands in front of a plain background; None if the image has no such background."""
    small = ImageOps.contain(image, (_SMALL, _SMALL)).filter(ImageFilter.MedianFilter(3))
    width, height = small.size
    edge = [(x, y) for x in range(0, width, 12) for y in (0, height - 1)]
    edge += [(x, y) for y in range(0, height, 12) for x in (0, width - 1)]
    marked, mark = small.copy(), (255, 0, 254)
    for seed in edge:
        if marked.getpixel(seed) != mark:
            ImageDraw.floodfill(marked, seed, mark, thresh=_ALIKE)
    background = ImageChops.difference(marked, Image.new("RGB", small.size, mark)).convert("L")
    mask = background.point(lambda value: 255 if value else 0).filter(ImageFilter.MedianFilter(5))
    mask = _largest(mask)
    share = mask.histogram()[255] / (width * height)
    if not _LEAST < share < _MOST:
        return None
    smooth = mask.resize(image.size, Image.Resampling.BICUBIC)
    return smooth.point(lambda value: min(255, max(0, (value - 96) * 4)))


def _largest(mask: Image.Image) -> Image.Image:
    """The largest connected part of a mask."""
    marks = mask.copy()
    number, sizes = 0, {0: 0}
    for y in range(0, mask.height, 6):
        for x in range(0, mask.width, 6):
            if marks.getpixel((x, y)) == 255 and number < 250:  # noqa: PLR2004 -- not yet numbered; numbers are one byte
                number += 1
                ImageDraw.floodfill(marks, (x, y), number)
                sizes[number] = marks.histogram()[number]
    largest = max(sizes, key=lambda one: sizes[one])
    return marks.point([255 if one == largest and largest else 0 for one in range(256)])


def recoloured(image: Image.Image, target: Colour, source: Colour | None = None) -> Image.Image:
    """The image with one colour replaced: `source`, else the most frequent vivid one."""
    hue, saturation, value = image.convert("HSV").split()
    new_hue, new_saturation, brightness = _hsv(target)
    own = round(new_hue * 255) if new_saturation >= _GREY else None
    wanted = round(_hsv(source)[0] * 255) if source else _frequent(hue, saturation, own)
    near = hue.point([255 if _apart(one, wanted) <= _NEAR else 0 for one in range(256)])
    area = ImageChops.multiply(_above(saturation, _VIVID[-1]), near).filter(ImageFilter.BoxBlur(1))
    if new_saturation < _GREY:
        pale = saturation.point(lambda strength: round(strength * 0.08))
        light = value.point(lambda one: min(255, round(one * (0.55 + 0.75 * brightness))))
        changed = Image.merge("HSV", (hue, pale, light))
    else:
        even = Image.new("L", image.size, round(new_hue * 255))
        changed = Image.merge("HSV", (even, saturation.point(lambda one: max(one, round(new_saturation * 200))), value))
    return Image.composite(changed.convert("RGB"), image, area)


def _hsv(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = colour
    return colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)


def _above(channel: Image.Image, least: int) -> Image.Image:
    return channel.point([255 if value > least else 0 for value in range(256)])


def _apart(one: int, other: int) -> int:
    return min((one - other) % 256, (other - one) % 256)


def _frequent(hue: Image.Image, saturation: Image.Image, without: int | None) -> int:
    """The most frequent vivid hue in the middle of the image that is not `without` already."""
    left, top = hue.width // 6, hue.height // 6
    middle = left, top, hue.width - left, hue.height - top
    counts = [0] * 256
    for least in _VIVID:
        counts = hue.crop(middle).histogram(_above(saturation.crop(middle), least))
        counts = [
            0 if without is not None and _apart(one, without) <= _NEAR else count for one, count in enumerate(counts)
        ]
        if sum(counts) > hue.width * hue.height // 500:
            break
    return max(range(256), key=lambda one: sum(counts[(one + near) % 256] for near in range(-6, 7)))


def in_manner_of(image: Image.Image, style: Style) -> Image.Image:
    """The image prepared for a style that draws lines: what the style's own steps on pixels do not do."""
    if not style.line and style.fill == "flat":
        return image
    edges = _edges(image)
    match style.fill:
        case "paper" | "pale":
            return ImageOps.colorize(edges, (253, 252, 249), (44, 46, 60))
        case "dark":
            glow = ImageChops.multiply(Image.merge("RGB", (edges, edges, edges)), ImageEnhance.Color(image).enhance(3))
            return ImageChops.add(ImageChops.add(glow, glow), image.point(lambda value: round(value * 0.22)))
        case "wash":
            return ImageOps.posterize(image.filter(ImageFilter.GaussianBlur(max(1, min(image.size) / 260))), 4).point(
                lambda value: min(255, value + 22)
            )
        case _:
            lines = ImageOps.colorize(edges, (255, 255, 255), (40, 38, 56))
            return ImageChops.multiply(ImageOps.posterize(image, 4), lines)


def _edges(image: Image.Image) -> Image.Image:
    found = image.convert("L").filter(ImageFilter.GaussianBlur(1)).filter(ImageFilter.FIND_EDGES)
    return ImageOps.expand(ImageOps.crop(ImageOps.autocontrast(found, cutoff=(0, 2)), 2), 2, 0)
