"""The words in quotes of a prompt, written on the image like on a poster."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from models.images.lettering import LINE_HEIGHT, Colour, clipped, width_of, wrapped, write

_WIDTH, _HEIGHT = 0.84, 0.3  # shares of the image
_MOST_LINES = 4
_DARK = (24, 26, 44)


def letter(image: Image.Image, texts: Sequence[str], accent: Colour) -> None:
    """Each text on its own lines at the top, as large as fits, in white with a dark edge and a bar in the accent colour."""
    room = image.width * _WIDTH
    size, lines = _fitted(texts, image, room)
    y = image.height * 0.07
    pen = ImageDraw.Draw(image)
    for line in lines:
        x = (image.width - width_of(line, size)) / 2
        bold = max(1, size // 26)
        write(pen, (x, y + bold), line, size, _DARK, stroke_width=bold * 3, stroke_fill=_DARK)
        write(pen, (x, y), line, size, (255, 253, 246), stroke_width=bold, stroke_fill=(255, 253, 246))
        y += size * LINE_HEIGHT
    thick, half = max(2, size // 10), image.width * 0.07
    pen.rounded_rectangle((image.width / 2 - half, y, image.width / 2 + half, y + thick), thick / 2, fill=accent)


def _fitted(texts: Sequence[str], image: Image.Image, room: float) -> tuple[int, list[str]]:
    largest = max(8, min(image.width, image.height) // 7)
    for size in range(largest, 7, -max(1, largest // 16)):
        lines = [line for text in texts for line in wrapped(text, size, room)]
        broken = any(width_of(word, size) > room for text in texts for word in text.split())
        if not broken and len(lines) <= _MOST_LINES and len(lines) * size * LINE_HEIGHT <= image.height * _HEIGHT:
            return size, lines
    return 8, clipped([line for text in texts for line in wrapped(text, 8, room)], _MOST_LINES, 8, room)
