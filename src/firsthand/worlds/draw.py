"""Drawing for the worlds: anti-aliased shapes and thick glyphs on a grid of 28-pixel cells.

A cell is one merged image token of the Qwen-VL families (patch 14, merge 2), so a picture of C x R cells costs
C * R tokens. Everything here is a pure function of its arguments.
"""

import math
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CELL = 28
"""Pixels per cell side."""
SCALE = 2
"""Supersampling: drawn this much larger, then averaged."""

COLOURS = {
    "red": (214, 48, 49),
    "green": (39, 154, 70),
    "blue": (41, 98, 217),
    "yellow": (244, 190, 22),
    "purple": (137, 65, 190),
}
SHAPES = ("circle", "square", "triangle", "star")
BACKGROUND = (246, 246, 242)
INK = (34, 34, 38)
GREY = (168, 168, 172)
_SHIFTED_FONT = Path(__file__).parent / "fonts" / "DejaVuSerif-Bold.ttf"

Colour = tuple[int, int, int]
_Point = tuple[float, float]


class Canvas:
    """A picture of `columns` x `rows` cells; coordinates are in final pixels."""

    def __init__(self, columns: int, rows: int, background: Colour = BACKGROUND) -> None:
        self.width, self.height = columns * CELL, rows * CELL
        self._image = Image.new("RGB", (self.width * SCALE, self.height * SCALE), background)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: list[_Point], fill: Colour, outline: Colour = INK, width: int = 1) -> None:
        """A closed polygon."""
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=fill, outline=outline, width=width * SCALE)

    def rectangle(
        self, box: tuple[float, float, float, float], fill: Colour | None, outline: Colour | None = INK, width: int = 1
    ) -> None:
        """An axis-aligned rectangle `(x1, y1, x2, y2)`."""
        self._draw.rectangle([v * SCALE for v in box], fill=fill, outline=outline, width=width * SCALE)

    def line(self, start: _Point, end: _Point, fill: Colour = INK, width: float = 1.5) -> None:
        """A straight line."""
        points = [(x * SCALE, y * SCALE) for x, y in (start, end)]
        self._draw.line(points, fill=fill, width=round(width * SCALE))

    def shape(self, name: str, colour: str, centre: _Point, radius: float) -> None:
        """One of SHAPES, inscribed in the square of half-side `radius` around `centre`."""
        x, y = centre
        fill = COLOURS[colour]
        box = (x - radius, y - radius, x + radius, y + radius)
        if name == "circle":
            self._draw.ellipse([v * SCALE for v in box], fill=fill, outline=INK, width=SCALE)
        elif name == "square":
            self.rectangle(box, fill)
        elif name == "triangle":
            self.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill)
        elif name == "star":
            spokes = [radius if i % 2 == 0 else radius * 0.42 for i in range(10)]
            angles = [math.pi * (i / 5 - 0.5) for i in range(10)]
            points = [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(spokes, angles, strict=True)]
            self.polygon(points, fill)
        else:
            raise ValueError(f"no such shape: {name!r}; known: {', '.join(SHAPES)}")

    def text(self, text: str, centre: _Point, size: float = 20, shifted: bool = False) -> None:
        """Thick text centred on a point; `shifted` uses the font that training never shows."""
        at = (centre[0] * SCALE, centre[1] * SCALE)
        font = _font(round(size * SCALE), shifted)
        self._draw.text(at, text, fill=INK, font=font, anchor="mm", stroke_width=1, stroke_fill=INK)

    def paste(self, picture: Image.Image, corner: tuple[int, int]) -> None:
        """Place a picture with its top left corner at `corner`."""
        size = (picture.width * SCALE, picture.height * SCALE)
        self._image.paste(picture.resize(size, Image.Resampling.BICUBIC), (corner[0] * SCALE, corner[1] * SCALE))

    def finish(self) -> Image.Image:
        """The finished picture at its final size."""
        return self._image.reduce(SCALE)


@cache
def _font(size: int, shifted: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(_SHIFTED_FONT, size) if shifted else ImageFont.load_default(size)
