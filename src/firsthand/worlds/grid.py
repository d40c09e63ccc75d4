"""Coloured shapes on a grid: the scene behind counting, comparing, locating and describing.

Cells are named by column letter and row number (`a1` is top left). Distractors are small grey crosses; an occluder is
a grey bar over part of a shape. The shifted variant shows colour-shape pairs that training never shows, and more
shapes.
"""

import random
from dataclasses import dataclass

from firsthand.records import Box, Digit, OpenEnded
from firsthand.worlds.draw import CELL, COLOURS, GREY, SHAPES, Canvas
from firsthand.worlds.world import Question, Scene, World

UNSEEN = {("green", "star"), ("purple", "triangle"), ("yellow", "square")}
"""Colour-shape pairs kept for the shifted set."""


@dataclass(frozen=True)
class Thing:
    """A shape in a cell; the box is in pixels."""

    cell: str
    colour: str
    shape: str
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """`red circle`."""
        return f"{self.colour} {self.shape}"


def draw(rng: random.Random, level: str, shifted: bool, split: str) -> Scene:
    """A grid of 3 x 3 cells with 3 to 5 shapes (easy), or 4 x 3 cells with 5 to 7 (hard), 7 to 9 when shifted."""
    columns, rows, fewest = (3, 3, 3) if level == "easy" else (4, 3, 5)
    number = rng.randint(fewest, fewest + 2) + 2 * shifted
    canvas = Canvas(columns, rows)
    cells = sorted(rng.sample(range(columns * rows), number))
    palette = rng.sample(sorted(COLOURS), 3)
    kinds = rng.sample(SHAPES, 3)
    things = tuple(_thing(rng, canvas, cell, columns, palette, kinds, shifted) for cell in cells)
    for cell in sorted(set(range(columns * rows)) - set(cells)):
        if rng.random() < 0.25:
            _cross(rng, canvas, cell, columns)
    caption = ", ".join(f"{t.cell} {t.name}" for t in things)
    size = (columns * CELL, rows * CELL)
    return Scene(canvas.finish(), f"grid {columns}x{rows}: {caption}", caption, {"things": things, "size": size})


def _thing(
    rng: random.Random, canvas: Canvas, cell: int, columns: int, palette: list[str], kinds: list[str], shifted: bool
) -> Thing:
    pairs = [(c, s) for c in palette for s in kinds if ((c, s) in UNSEEN) <= shifted]
    unseen = [pair for pair in pairs if pair in UNSEEN]
    colour, shape = rng.choice(unseen if unseen and rng.random() < 0.5 else pairs)
    radius = rng.uniform(8.5, 11.5)
    slack = CELL / 2 - radius - 1
    column, row = cell % columns, cell // columns
    x = column * CELL + CELL / 2 + rng.uniform(-slack, slack)
    y = row * CELL + CELL / 2 + rng.uniform(-slack, slack)
    canvas.shape(shape, colour, (x, y), radius)
    if rng.random() < 0.2:  # cover a strip of at most a third of the shape
        shift = rng.uniform(-0.5, 0.5) * radius
        half = radius * rng.uniform(0.12, 0.2)
        canvas.rectangle((x - radius, y + shift - half, x + radius, y + shift + half), fill=GREY, outline=None)
    return Thing(f"{'abcd'[column]}{row + 1}", colour, shape, (x - radius, y - radius, x + radius, y + radius))


def _cross(rng: random.Random, canvas: Canvas, cell: int, columns: int) -> None:
    x = (cell % columns) * CELL + CELL / 2 + rng.uniform(-5, 5)
    y = (cell // columns) * CELL + CELL / 2 + rng.uniform(-5, 5)
    arm = rng.uniform(2.5, 4)
    canvas.line((x - arm, y - arm), (x + arm, y + arm), GREY)
    canvas.line((x - arm, y + arm), (x + arm, y - arm), GREY)


def ask_count(rng: random.Random, scene: Scene) -> Question:
    """How many objects have a colour, a shape, or either of two colours; present ones more often than absent ones."""
    things: tuple[Thing, ...] = scene.facts["things"]
    kind = rng.choice(("colour", "shape", "either"))
    seen_colours = sorted({t.colour for t in things})
    if kind == "either" and len(seen_colours) < 2:
        kind = "colour"
    if kind == "colour":
        wanted = {rng.choice(seen_colours if rng.random() < 0.9 else sorted(COLOURS))}
        what = f"{next(iter(wanted))} objects"
    elif kind == "either":
        first, second = rng.sample(seen_colours, 2)
        wanted, what = {first, second}, f"{first} or {second} objects"
    else:
        wanted = {rng.choice(sorted({t.shape for t in things}) if rng.random() < 0.9 else SHAPES)}
        what = f"{next(iter(wanted))}s"
    text = rng.choice((f"How many {what} are there?", f"Count the {what}."))
    total, steps = 0, []
    for thing in things:
        match = thing.colour in wanted or thing.shape in wanted
        total += match
        steps.append(f"{thing.cell} {thing.name} yes {total}" if match else f"{thing.cell} {thing.name} no")
    return Question(text, Digit(value=str(total)), tuple(steps), str(total))


def ask_more(rng: random.Random, scene: Scene) -> Question:
    """How many more objects have one colour than another: two counts and their difference."""
    things: tuple[Thing, ...] = scene.facts["things"]
    total = {colour: sum(t.colour == colour for t in things) for colour in sorted(COLOURS)}
    pairs = [
        (more, fewer) for more in total for fewer in total if more != fewer and total[more] >= max(1, total[fewer])
    ]
    wanted = rng.choice(sorted({total[more] - total[fewer] for more, fewer in pairs}))  # so that no answer is common
    more, fewer = rng.choice([(more, fewer) for more, fewer in pairs if total[more] - total[fewer] == wanted])
    counts, steps = {more: 0, fewer: 0}, []
    for thing in things:
        if thing.colour not in counts:
            steps.append(f"{thing.cell} {thing.name} no")
            continue
        counts[thing.colour] += 1
        steps.append(f"{thing.cell} {thing.name} {thing.colour} {counts[thing.colour]}")
    difference = counts[more] - counts[fewer]
    steps.append(f"{counts[more]} - {counts[fewer]} = {difference}")
    text = f"How many more {more} objects than {fewer} objects are there?"
    return Question(text, Digit(value=str(difference)), tuple(steps), str(difference))


def ask_box(rng: random.Random, scene: Scene) -> Question:
    """Where the only object of its name is, as a normalised box."""
    things: tuple[Thing, ...] = scene.facts["things"]
    width, height = scene.facts["size"]
    names = [t.name for t in things]
    single = [t for t in things if names.count(t.name) == 1]
    target = rng.choice(single or list(things))
    x1, y1, x2, y2 = target.box
    box = (round(x1 / width, 2), round(y1 / height, 2), round(x2 / width, 2), round(y2 / height, 2))
    said = "[" + ", ".join(f"{v:.2f}" for v in box) + "]"
    where = target.name if single else f"object in {target.cell}"
    text = rng.choice((f"Where is the {where}? Give its box.", f"Locate the {where}."))
    return Question(text, Box(xyxy=box), (f"the {target.name} is in {target.cell}",), said)


def ask_caption(rng: random.Random, scene: Scene) -> Question:
    """Describe everything, in reading order."""
    text = rng.choice(("Describe the image.", "What is in the image?"))
    return Question(text, OpenEnded(reference=scene.caption), (), scene.caption)


COUNT = World("count", draw, ask_count)
COMPARE = World("compare", draw, ask_more)
LOCATE = World("locate", draw, ask_box)
DESCRIBE = World("describe", draw, ask_caption)
