"""More shapes than `charts.py`'s lines over training: points with intervals, bars, tables of colour, histograms.

The same rules: SVG by hand, coloured by the page's style sheet, every text escaped, readable without scripts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, log2, log10
from typing import NamedTuple

from markupsafe import Markup

from firsthand.report.charts import Frame, arm_class, key, marker, ticks

_LONGEST = 18
"""Characters of a label; a longer one is cut, and whole in its title."""
_ROW, _BAR = 26, 9
"""User units: of a row of bars, and of a bar."""
_MOST_MARKS = 240
"""Dots that a series is drawn with; of more it is a line alone."""


class XY(NamedTuple):
    """A point; an interval where it is known; words that a reader gets by pointing at it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    words: str = ""


@dataclass(frozen=True)
class Series:
    """The points of one arm."""

    index: int
    """The arm's, which fixes the colour."""
    name: str
    points: tuple[XY, ...]
    value: str = ""
    """What the legend says beside the name."""


class Bar(NamedTuple):
    """A labelled length with its interval, where it is known."""

    label: str
    value: float | None
    """None: not measured, no bar."""
    low: float | None = None
    high: float | None = None
    style: str = ""
    """A class of the style sheet, such as `good` or `arm3`."""
    words: str = ""


class Tile(NamedTuple):
    """A cell of a table of colour."""

    value: float | None
    """None: not measured, no colour."""
    text: str
    words: str = ""
    is_framed: bool = False


def xy_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    log_x: bool = False,
    lines: bool = True,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Points, joined unless `lines` is off, over any axis; one in powers of two where `log_x` is on.

    Needs a finite point.
    """
    series = [replace(one, points=tuple(p for p in one.points if _drawable(p, log_x))) for one in series]
    put: Callable[[float], float] = log2 if log_x else float
    points = [point for one in series for point in one.points]
    frame = Frame(x_range or _padded(put(p.x) for p in points), y_range or _padded(_heights(points)), left=60.0)
    columns = [(frame.x(put(v)), f"{v:,g}") for v in _columns(frame, log_x)]
    return Markup('<svg class="chart" viewBox="0 0 352 206" role="img" aria-label="{}"{}>{}{}{}{}{}</svg>').format(
        f"{title}: {y_label} over {x_label}; " + "; ".join(map(_spoken, series)),
        Markup(' data-x="{}"').format(x_label) if lines else "",
        _rows(frame),
        Markup().join(
            Markup('<text class="tick" x="{:.1f}" y="{:.0f}" text-anchor="middle">{}</text>').format(
                x, frame.bottom + 16, text
            )
            for x, text in columns
        ),
        Markup().join(_series(one, frame, put, lines) for one in series if one.points),
        Markup('<text class="label" x="{:.0f}" y="202" text-anchor="middle">{}</text>').format(
            (frame.left + frame.right) / 2, x_label
        ),
        Markup(
            '<text class="label" transform="translate(12 {:.0f}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format((frame.top + frame.bottom) / 2, y_label),
    )


def bar_chart(title: str, x_label: str, bars: Sequence[Sequence[Bar]], *, most: float | None = None) -> Markup:
    """Rows of bars that grow to the right from 0 (or to the left); a row's label is that of its first bar."""
    ends = [end for row in bars for bar in row for end in (bar.value, bar.low, bar.high) if end is not None]
    low, high = min([0.0, *ends]), most or max([0.0, *ends])
    thick = max(len(row) for row in bars)
    height = max(_ROW, thick * (_BAR + 2) + 8)
    frame = Frame((low, high if high > low else low + 1), (0, 1), left=112, right=340, bottom=8 + height * len(bars))
    drawn = Markup().join(_bar_row(row, frame, 8 + i * height, height) for i, row in enumerate(bars))
    lines = Markup().join(
        Markup(
            '<line class="{}" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{:.0f}"/>'
            '<text class="tick" x="{x:.1f}" y="{:.0f}" text-anchor="middle">{}</text>'
        ).format("zero" if v == 0 else "grid", frame.bottom, frame.bottom + 16, _number(v), x=frame.x(v))
        for v in ticks(*frame.x_range, about=4)
    )
    said = "; ".join(f"{bar.label} {_number(bar.value)}" for row in bars for bar in row if bar.value is not None)
    return Markup(
        '<svg class="chart" viewBox="0 0 352 {h:.0f}" role="img" aria-label="{}">{}{}'
        '<text class="label" x="226" y="{:.0f}" text-anchor="middle">{}</text></svg>'
    ).format(f"{title}: {said}", lines, drawn, frame.bottom + 34, x_label, h=frame.bottom + 40)


def tile_chart(title: str, rows: Sequence[tuple[str, Sequence[Tile]]], columns: Sequence[str]) -> Markup:
    """A table of colour: above 0 one colour, below 0 the other, as strong as the largest of all is far from 0."""
    reach = max((abs(t.value) for _, tiles in rows for t in tiles if t.value is not None), default=0.0) or 1.0
    wide, high, left, top = 62, 30, 112, 26
    heads = Markup().join(
        Markup('<text class="tick" x="{:.0f}" y="16" text-anchor="middle">{}</text>').format(
            left + (i + 0.5) * wide, _cut(name, 10)
        )
        for i, name in enumerate(columns)
    )
    body = Markup().join(
        _label(name, left - 6, top + (i + 0.5) * high + 4)
        + Markup().join(_tile(t, left + j * wide, top + i * high, wide, high, reach) for j, t in enumerate(tiles))
        for i, (name, tiles) in enumerate(rows)
    )
    said = "; ".join(
        f"{name}: " + ", ".join(f"{column} {t.text}" for column, t in zip(columns, tiles, strict=True))
        for name, tiles in rows
    )
    return Markup('<svg class="chart tiles" viewBox="0 0 {w} {h}" role="img" aria-label="{}">{}{}</svg>').format(
        f"{title}: {said}", heads, body, w=max(352, left + wide * len(columns) + 4), h=top + high * len(rows) + 4
    )


def step_chart(title: str, x_label: str, y_label: str, edges: Sequence[float], series: Sequence[Series]) -> Markup:
    """Histograms as outlines, so that several can be seen: the y of point i is the height between edges i and i + 1."""
    stairs = [
        replace(
            one, points=tuple(XY(x, point.y) for i, point in enumerate(one.points) for x in (edges[i], edges[i + 1]))
        )
        for one in series
    ]
    top = max(point.y for one in series for point in one.points)
    return xy_chart(title, x_label, y_label, stairs, y_range=(0.0, 1.05 * top or 1.0))


def figure(title: str, svg: Markup, legend: Iterable[tuple[int, str, str]] = (), note: str = "") -> Markup:
    """A plot with its title, a legend of `(arm's index, name, value)`, and what is to be known of it."""
    items = Markup().join(
        Markup('<li data-arm="{}">{} {} <span class="muted">{}</span></li>').format(i, key(i), name, value)
        for i, name, value in legend
    )
    return Markup("<figure><figcaption><h4>{}</h4>{}</figcaption>{}{}</figure>").format(
        title,
        Markup("<p>{}</p>").format(note) if note else "",
        svg,
        Markup('<ul class="legend">{}</ul>').format(items) if items else "",
    )


def plots(figures: Iterable[Markup], said: Iterable[str] = ()) -> Markup:
    """Figures side by side, below what they say in sentences."""
    sentences = Markup().join(Markup("<li>{}</li>").format(sentence) for sentence in said)
    return Markup('{}<div class="plots">{}</div>').format(
        Markup('<ul class="rest">{}</ul>').format(sentences) if sentences else "", Markup().join(figures)
    )


def legend_of(series: Iterable[Series]) -> list[tuple[int, str, str]]:
    """The legend of these series."""
    return [(one.index, one.name, one.value) for one in series]


def _drawable(point: XY, log_x: bool) -> bool:
    return isfinite(point.x) and isfinite(point.y) and (point.x > 0 or not log_x)


def _heights(points: Iterable[XY]) -> list[float]:
    return [end for p in points for end in (p.y, p.low, p.high) if end is not None and isfinite(end)]


def _padded(values: Iterable[float]) -> tuple[float, float]:
    """A range that holds the values; from 0 where they come near it."""
    found = list(values)
    low, high = min(found), max(found)
    if 0 <= low < 0.5 * high:
        low = 0.0
    pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    return (0.0 if low == 0 else low - pad), high + pad


def _columns(frame: Frame, log_x: bool) -> list[float]:
    if not log_x:
        return ticks(*frame.x_range)
    low, high = frame.x_range
    step = max(1, round((high - low) / 6))
    return [2.0**power for power in range(int(-(-low // 1)), int(high // 1) + 1, step)]


def _rows(frame: Frame) -> Markup:
    return Markup().join(
        Markup(
            '<line class="{}" x1="{:.0f}" x2="{:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="tick" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(
            "zero" if v == 0 else "grid",
            frame.left,
            frame.right,
            frame.left - 6,
            frame.y(v) + 4,
            _number(v),
            y=frame.y(v),
        )
        for v in ticks(*frame.y_range)
    )


def _series(one: Series, frame: Frame, put: Callable[[float], float], lines: bool) -> Markup:
    at = [(frame.x(put(p.x)), frame.y(p.y), p) for p in one.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in at)
    line = Markup('<path class="smooth" d="M{}"/>').format(path) if lines else Markup()
    marks = Markup().join(_mark(one.index, x, y, p, frame) for x, y, p in at) if len(at) <= _MOST_MARKS else Markup()
    told = " ".join(f"{p.x:.5g},{p.y:.4g}" for p in one.points)
    pointed = Markup(' data-name="{}" data-points="{}"').format(one.name, told) if lines else Markup()
    return Markup('<g class="{}" data-arm="{}"{}>{}{}</g>').format(
        arm_class(one.index), one.index, pointed, line, marks
    )


def _mark(index: int, x: float, y: float, point: XY, frame: Frame) -> Markup:
    bar = Markup()
    if point.low is not None and point.high is not None:
        bar = Markup('<line class="bar thin" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
            frame.y(point.low), frame.y(point.high), x=x
        )
    if not (bar or point.words):
        return Markup()
    words = Markup("<title>{}</title>").format(point.words) if point.words else Markup()
    return Markup("<g>{}{}{}</g>").format(words, bar, marker(index, x, y))


def _bar_row(row: Sequence[Bar], frame: Frame, top: float, height: float) -> Markup:
    first = top + (height - len(row) * (_BAR + 2)) / 2
    return _label(row[0].label, frame.left - 8, top + height / 2 + 4) + Markup().join(
        _bar(bar, frame, first + i * (_BAR + 2)) for i, bar in enumerate(row) if bar.value is not None
    )


def _bar(bar: Bar, frame: Frame, y: float) -> Markup:
    value = bar.value or 0.0
    ends = sorted((frame.x(0.0), frame.x(value)))
    reach = Markup()
    if bar.low is not None and bar.high is not None:
        reach = Markup('<line class="bar thin" x1="{:.1f}" x2="{:.1f}" y1="{m:.1f}" y2="{m:.1f}"/>').format(
            frame.x(bar.low), frame.x(bar.high), m=y + _BAR / 2
        )
    return Markup(
        '<g class="{}"><rect class="fill" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}"><title>{}</title></rect>'
        "{}</g>"
    ).format(bar.style, ends[0], y, ends[1] - ends[0], _BAR, bar.words or f"{bar.label}: {_number(value)}", reach)


def _tile(tile: Tile, x: float, y: float, wide: float, high: float, reach: float) -> Markup:
    strength = 0.0 if tile.value is None else 0.55 * abs(tile.value) / reach
    return Markup(
        '<g><title>{}</title><rect class="{}{}" fill-opacity="{:.2f}" x="{:.1f}" y="{:.1f}" width="{}" height="{}"/>'
        '<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text></g>'
    ).format(
        tile.words or tile.text,
        "above" if (tile.value or 0.0) >= 0 else "below",
        " framed" if tile.is_framed else "",
        strength,
        x + 1.5,
        y + 1.5,
        wide - 3,
        high - 3,
        x + wide / 2,
        y + high / 2 + 4,
        tile.text,
    )


def _label(text: str, x: float, y: float) -> Markup:
    return Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end"><title>{}</title>{}</text>').format(
        x, y, text, _cut(text, _LONGEST)
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: float) -> str:
    """As an axis shows it, with a minus sign."""
    digits = f"{value:.3g}" if value == 0 or abs(log10(abs(value))) < 6 else f"{value:.2e}"
    return digits.replace("-", "−")


def _spoken(one: Series) -> str:
    """Where a series begins and ends, for those who do not see it."""
    if not one.points:
        return f"{one.name} has no point"
    first, last = one.points[0], one.points[-1]
    return f"{one.name} from {first.y:.3g} at {first.x:.3g} to {last.y:.3g} at {last.x:.3g}"
