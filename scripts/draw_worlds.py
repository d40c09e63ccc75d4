"""Draw the pictures of docs/worlds.md from the worlds themselves.

    python scripts/draw_worlds.py

`worlds.png`: one row per family, with an easy, a hard and a shifted picture, enlarged three times and otherwise as the
model sees them. `demonstrations.png`: one question with the plain and the expert demonstration of its answer.
`squares.png`: its picture alone, in its own size, for the README's first steps.
"""

import argparse
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from firsthand.records import Example
from firsthand.worlds import WORLDS, generate

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS = {"easy": ("easy", False), "hard": ("hard", False), "shifted": ("hard", True)}
"""Heading -> (level, shifted)."""
ZOOM = 3
SEED = 3
CELL, MARGIN, LABEL, HEADING, CAPTION = 420, 20, 150, 44, 78
"""Pixels: side of a cell, gap around everything, width of the family's name, height of headings and of questions."""
INK, FAINT = "#222222", "#666666"
SLIP = "not right"


def enlarged(example: Example) -> Image.Image:
    """The example's picture, three times as large, pixel by pixel."""
    picture = example.images[0].open()
    return picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)


def wrapped(text: str, width: int, lines: int) -> str:
    """At most `lines` lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" ..."))


def contact_sheet() -> Image.Image:
    """One row per family, one column per difficulty, each picture over its question and its gold answer."""
    pictures = {
        family: [
            generate(family, "test", 1, seed=SEED, level=level, shifted=shifted)[0]
            for level, shifted in COLUMNS.values()
        ]
        for family in WORLDS
    }
    heights = {f: max(e.images[0].height for e in row) * ZOOM + CAPTION + MARGIN for f, row in pictures.items()}
    width = LABEL + len(COLUMNS) * (CELL + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, HEADING + MARGIN + sum(heights.values())), "white")
    draw = ImageDraw.Draw(sheet)
    for column, heading in enumerate(COLUMNS):
        draw.text((LABEL + column * (CELL + MARGIN), MARGIN), heading, INK, font(24))
    top = HEADING + MARGIN
    for family, row in pictures.items():
        draw.text((MARGIN, top), family, INK, font(24))
        draw.text((MARGIN, top + 32), row[0].answer.kind, FAINT, font(18))
        for column, example in enumerate(row):
            place(sheet, example, (LABEL + column * (CELL + MARGIN), top))
        top += heights[family]
    return sheet


def place(sheet: Image.Image, example: Example, corner: tuple[int, int]) -> None:
    """One cell of the sheet: the picture, and under it the question with its gold answer."""
    picture = enlarged(example)
    sheet.paste(picture, corner)
    told = wrapped(example.question, 58, 2) + "\n" + wrapped(f"Answer: {example.answer.text}", 58, 2)
    ImageDraw.Draw(sheet).multiline_text((corner[0], corner[1] + picture.height + 6), told, FAINT, font(14), spacing=3)


def demonstrations(example: Example) -> Image.Image:
    """The picture with its question, and beside it what the two demonstrations say."""
    picture = enlarged(example)
    texts = [(trace.style, wrapped(trace.text, 88, 20)) for trace in example.traces]
    sheet = Image.new("RGB", (picture.width + 740, max(picture.height + 110, 480)), "white")
    sheet.paste(picture, (MARGIN, MARGIN))
    draw = ImageDraw.Draw(sheet)
    asked = f"{wrapped(example.question, 30, 2)}\nAnswer: {example.answer.text}"
    draw.multiline_text((MARGIN, picture.height + MARGIN + 10), asked, INK, font(17))
    left, top = picture.width + 3 * MARGIN, MARGIN
    for style, text in texts:
        draw.text((left, top), style, INK, font(22))
        draw.multiline_text((left, top + 32), text, FAINT, font(15), spacing=5)
        top = round(draw.multiline_textbbox((left, top + 32), text, font(15), spacing=5)[3]) + 2 * MARGIN
    return sheet.crop((0, 0, sheet.width, max(top, picture.height + 110)))


def corrected() -> Example:
    """The first counting question whose expert demonstration slips and puts it right."""
    drawn = generate("count", "test", 20, seed=SEED, level="easy")
    return next(example for example in drawn if SLIP in example.traces[1].text)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (default: %(default)s)")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    contact_sheet().save(out / "worlds.png", optimize=True)
    example = corrected()
    demonstrations(example).save(out / "demonstrations.png", optimize=True)
    (out / "squares.png").write_bytes(example.images[0].encoded())
    print(*sorted(out.glob("*.png")), sep="\n")


if __name__ == "__main__":
    main()
