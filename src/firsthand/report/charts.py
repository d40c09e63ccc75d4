"""SVG by hand: small, coloured by the page's style sheet (so the dark theme works), readable without scripts.

Every function returns markup whose text was escaped. Lengths are in SVG user units, one CSS pixel at natural size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from firsthand.stats import Estimate

_COLOURS = 8
"""How many arm colours the style sheet has; from the ninth arm on they come again, with dashes."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Point(NamedTuple):
    """One value of a curve; `y` may be NaN or infinite, which breaks the line there."""

    x: float
    y: float


@dataclass(frozen=True)
class Curve:
    """One arm in a chart: the faint line of every run, and the bold line of their smoothed mean."""

    index: int
    name: str
    raw: tuple[tuple[Point, ...], ...]
    smooth: tuple[Point, ...]

    @property
    def last(self) -> float | None:
        """The bold line's last value."""
        return self.smooth[-1].y if self.smooth and isfinite(self.smooth[-1].y) else None


@dataclass(frozen=True)
class Frame:
    """The plotting area and what its edges mean."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = 52.0
    right: float = 344.0
    top: float = 8.0
    bottom: float = 166.0

    def x(self, value: float) -> float:
        """User units from the left."""
        return self.left + _share(value, self.x_range) * (self.right - self.left)

    def y(self, value: float) -> float:
        """User units from the top. A value outside is drawn on the edge; `outside` counts them for the caption."""
        return self.bottom - _share(value, self.y_range) * (self.bottom - self.top)


def _share(value: float, ends: tuple[float, float]) -> float:
    """How far along between the ends; a value outside is at the nearer one."""
    low, high = ends
    return (min(max(value, low), high) - low) / (high - low)


def arm_class(index: int) -> str:
    """The classes that colour (and, when colours run out, dash) the arm of that index."""
    return f"arm{index % _COLOURS}" + (" again" if index >= _COLOURS else "")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in [low, high], low < high, 1-2-5 steps, about that many."""
    rough = (high - low) / about
    magnitude = 10.0 ** floor(log10(rough))
    step = next(magnitude * m for m in (1, 2, 5, 10) if magnitude * m >= rough * 0.999)
    return [float(f"{i * step:.10g}") for i in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


_SHAPES = (
    "M-3.5 0A3.5 3.5 0 1 0 3.5 0A3.5 3.5 0 1 0-3.5 0Z",
    "M-3.2-3.2H3.2V3.2H-3.2Z",
    "M0-4.4L4.3 3.2H-4.3Z",
    "M0-4.6L4.6 0L0 4.6L-4.6 0Z",
    "M0 4.4L4.3-3.2H-4.3Z",
    "M-4.5-1.5H-1.5V-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5Z",
    "M0-4.4L4.2-1.4L2.6 3.6H-2.6L-4.2-1.4Z",
    "M-4.4 0L-2.2-3.8H2.2L4.4 0L2.2 3.8H-2.2Z",
)
"""Of each colour, around (0, 0): an arm is told from another by its shape, too."""


def marker(index: int, x: float, y: float) -> Markup:
    """The arm's shape, around a point. Its class is that of a dot."""
    return Markup('<path class="dot" transform="translate({:.1f} {:.1f})" d="{}"/>').format(
        x, y, _SHAPES[index % _COLOURS]
    )


def key(index: int) -> Markup:
    """The arm's colour and shape beside its name."""
    return Markup(
        '<svg class="key {}" width="13" height="13" viewBox="-5.2 -5.2 10.4 10.4" aria-hidden="true">{}</svg>'
    ).format(arm_class(index), marker(index, 0, 0))


def whisker(estimate: Estimate, index: int, domain: tuple[float, float], width: int = 132) -> Markup:
    """A dot with its interval on the scale `domain`; without an interval, a hollow dot."""
    at = Frame(domain, domain, left=6, right=width - 6).x
    marks = Markup().join(
        Markup('<line class="{}" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="16"/>').format(
            "zero" if v == 0 > domain[0] else "grid", x=at(v)
        )
        for v in ticks(*domain, about=4)
    )
    bar = Markup()
    if estimate.low is not None and estimate.high is not None:
        bar = Markup('<line class="bar" x1="{:.1f}" x2="{:.1f}" y1="9" y2="9"/>').format(
            at(estimate.low), at(estimate.high)
        )
    return Markup(
        '<svg class="whisker {}" width="{w}" height="18" viewBox="0 0 {w} 18" aria-hidden="true">'
        '<line class="grid" x1="6" x2="{e}" y1="9" y2="9"/>{}{}<circle class="{}" cx="{:.1f}" cy="9" r="4"/></svg>'
    ).format(arm_class(index), marks, bar, "dot" if bar else "hollow", at(estimate.value), w=width, e=width - 6)


def scale(domain: tuple[float, float], width: int = 132) -> Markup:
    """The axis of a column of whiskers: its round numbers, in percent."""
    at = Frame(domain, domain, left=6, right=width - 6).x
    numbers = Markup().join(
        Markup('<text x="{:.1f}" y="10" text-anchor="middle">{}</text>').format(
            at(v), _signed(v) if domain[0] < 0 else f"{100 * v:.0f}"
        )
        for v in ticks(*domain, about=2 if width < 150 else 4)
    )
    return Markup('<svg class="scale" width="{w}" height="12" viewBox="0 0 {w} 12" aria-hidden="true">{}</svg>').format(
        numbers, w=width
    )


def against_zero(value: float | None, low: float | None, high: float | None, reach: float) -> Markup:
    """A difference and its interval on a scale from `-reach` to `reach` around zero, which stands in the middle."""
    if value is None:
        return Markup()
    domain = (-1.08 * reach, 1.08 * reach)
    at = Frame(domain, domain, left=6, right=354).x
    marks = Markup().join(
        Markup(
            '<line class="{}" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="30"/>'
            '<text class="tick" x="{x:.1f}" y="42" text-anchor="middle">{}</text>'
        ).format("grid" if v else "zero", _signed(v), x=at(v))
        for v in ticks(*domain)
    )
    bar = Markup()
    if low is not None and high is not None:
        bar = Markup(
            '<line class="bar" x1="{a:.1f}" x2="{b:.1f}" y1="16" y2="16"/>'
            '<path class="bar" d="M{a:.1f} 10V22M{b:.1f} 10V22"/>'
        ).format(a=at(low), b=at(high))
    return Markup(
        '<svg class="against-zero" viewBox="0 0 360 46" aria-hidden="true">{}{}'
        '<circle class="{}" cx="{:.1f}" cy="16" r="5.5"/></svg>'
    ).format(marks, bar, "dot" if bar else "hollow", at(value))


def _signed(value: float) -> str:
    """A difference of fractions in whole points, as an axis shows it: `+20`, `−20` with a minus sign, `0`."""
    points = f"{100 * value:+.10g}".replace("-", "−")
    return points if value else "0"


def line_chart(title: str, y_label: str, curves: Sequence[Curve], x_label: str = "training step (one batch)") -> Markup:
    """Curves over training steps, with axes and their labels. Needs at least one finite point.

    Of another `x_label`, no point leads to rollouts.
    """
    frame = _frame(curves)
    lines = Markup().join(_curve(curve, frame) for curve in curves)
    power = _power(frame)
    summary = ", ".join(f"{c.name} ends at {c.last:.3g}" for c in curves if c.last is not None)
    return Markup(
        '<svg class="chart" viewBox="0 0 352 206" role="img" aria-label="{}" data-x="{}">{}{}'
        '<text class="label" x="{:.0f}" y="202" text-anchor="middle">{}</text>'
        '<text class="label" transform="translate(12 {:.0f}) rotate(-90)" text-anchor="middle">{}</text></svg>'
    ).format(
        f"{title} over {x_label}: {summary}",
        "step" if x_label.startswith("training step") else x_label,
        _axes(frame, power),
        lines,
        (frame.left + frame.right) / 2,
        x_label,
        (frame.top + frame.bottom) / 2,
        f"{y_label} × 10{str(power).translate(_SUPERSCRIPT)}" if power else y_label,
    )


def outside(curves: Sequence[Curve]) -> int:
    """How many raw points lie beyond the vertical axis, where the chart draws them on its edge."""
    low, high = _frame(curves).y_range
    return sum(not low <= y <= high for y in _finite(point for curve in curves for line in curve.raw for point in line))


def _frame(curves: Sequence[Curve]) -> Frame:
    """Axes that show every bold line in full, and the raw ones but for rare spikes: they would flatten all the rest."""
    xs = [point.x for curve in curves for line in curve.raw for point in line]
    smooth = _finite(point for curve in curves for point in curve.smooth)
    raw = _finite(point for curve in curves for line in curve.raw for point in line)
    low, high = (float(end) for end in np.percentile(raw, [2, 98]))
    reach = high - low
    low = min([min(raw) if min(raw) > low - reach else low, *smooth])
    high = max([max(raw) if max(raw) < high + reach else high, *smooth])
    if 0 <= low < 0.5 * high:
        low = 0.0
    pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    y_range = (0.0 if low == 0 else low - pad, high + pad)
    return Frame((min(xs), max(max(xs), min(xs) + 1)), y_range)


def _power(frame: Frame) -> int:
    """The power of ten that the vertical axis' numbers leave to its label: 0 unless they would be very long."""
    largest = floor(log10(max(abs(end) for end in frame.y_range)))
    return largest if not -2 <= largest <= 4 else 0


def _axes(frame: Frame, power: int) -> Markup:
    rows = Markup().join(
        Markup(
            '<line class="{}" x1="{:.0f}" x2="{:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text class="tick" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(
            "zero" if v == 0 else "grid",
            frame.left,
            frame.right,
            frame.left - 6,
            frame.y(v) + 4,
            f"{v / 10.0**power:g}".replace("-", "−"),
            y=frame.y(v),
        )
        for v in ticks(*frame.y_range)
    )
    columns = Markup().join(
        Markup('<text class="tick" x="{:.1f}" y="{:.0f}" text-anchor="middle">{}</text>').format(
            frame.x(v), frame.bottom + 16, f"{v:,g}"
        )
        for v in ticks(*frame.x_range)
        if v == round(v)
    )
    return rows + columns


def _curve(curve: Curve, frame: Frame) -> Markup:
    raw = Markup().join(Markup('<path class="raw" d="{}"/>').format(_path(line, frame)) for line in curve.raw)
    smooth = Markup('<path class="smooth" d="{}"/>').format(_path(curve.smooth, frame))
    end = Markup()
    if curve.last is not None:
        end = marker(curve.index, frame.x(curve.smooth[-1].x), frame.y(curve.last))
    return Markup('<g class="{}" data-arm="{}" data-name="{}" data-points="{}">{}{}{}</g>').format(
        arm_class(curve.index), curve.index, curve.name, _points(curve.smooth), raw, smooth, end
    )


def _points(line: Sequence[Point]) -> str:
    """`x,y x,y`, one for each place of the line's path: what is said of a point that is pointed at."""
    return " ".join(f"{point.x:g},{point.y:.4g}" for point in line if isfinite(point.y))


def _path(line: Sequence[Point], frame: Frame) -> str:
    """SVG path data; the pen is lifted over what is not finite."""
    drawn: list[str] = []
    pen_down = False
    for point in line:
        if isfinite(point.y):
            drawn.append(f"{'L' if pen_down else 'M'}{frame.x(point.x):.1f} {frame.y(point.y):.1f}")
        pen_down = isfinite(point.y)
    return "".join(drawn)


def _finite(points: Iterable[Point]) -> list[float]:
    return [point.y for point in points if isfinite(point.y)]
