"""Shapes: that they show what they are given, say it to those who do not see, and escape it."""

import itertools
import re

import pytest

from firsthand.report.plots import (
    XY,
    Bar,
    Series,
    Tile,
    bar_chart,
    figure,
    legend_of,
    plots,
    step_chart,
    tile_chart,
    xy_chart,
)

HOSTILE = '"><script>alert(1)</script>'


def numbers(svg: str, element: str, attribute: str) -> list[float]:
    return [float(found) for found in re.findall(rf'<{element} [^>]*\b{attribute}="(-?[\d.]+)"', svg)]


def test_powers_of_two_stand_at_equal_distances() -> None:
    points = tuple(XY(k, 0.5, words=str(k)) for k in (1.0, 2.0, 4.0, 8.0))
    svg = xy_chart("pass@k", "k", "chance", [Series(0, "base", points)], log_x=True)
    at = [float(x) for x in re.findall(r"[ML]([\d.]+) [\d.]+", svg.split('class="smooth"')[1].split("/>")[0])]
    gaps = [second - first for first, second in itertools.pairwise(at)]
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.15)


def test_a_line_has_a_place_for_each_of_the_points_that_are_read_out() -> None:
    svg = xy_chart("t", "steps", "y", [Series(2, "grpo", (XY(0, 0.5), XY(1, 0.25, words="x")))])
    assert 'data-x="steps"' in svg
    assert 'data-arm="2" data-name="grpo" data-points="0,0.5 1,0.25"' in svg
    assert len(re.findall("[ML]", re.findall(r'class="smooth" d="([^"]+)"', svg)[0])) == 2
    assert "data-points" not in xy_chart("t", "x", "y", [Series(2, "grpo", (XY(0, 0.5, words="x"),))], lines=False)


def test_an_interval_is_drawn_from_end_to_end_and_a_bare_point_has_none() -> None:
    series = [Series(0, "a", (XY(0, 0.5, 0.25, 0.75), XY(1, 0.5)))]
    svg = xy_chart("t", "x", "y", series, y_range=(0.0, 1.0))
    assert re.findall(r'<line class="bar thin"[^>]*y1="([\d.]+)" y2="([\d.]+)"', svg) == [("126.5", "47.5")]


def test_points_that_are_not_finite_are_left_out() -> None:
    svg = xy_chart("t", "x", "y", [Series(0, "a", (XY(0, 1.0, words="one"), XY(1, float("nan"), words="none")))])
    assert "none" not in svg
    assert "nan" not in svg


def test_bars_are_as_long_as_their_values_and_grow_both_ways() -> None:
    svg = bar_chart("t", "points", [[Bar("a", 20.0)], [Bar("b", -10.0), Bar("b", None)]])
    wide = numbers(svg, "rect", "width")
    assert len(wide) == 2  # what was not measured has no bar
    assert wide[0] == pytest.approx(2 * wide[1], abs=0.2)


def test_tiles_are_as_strong_as_they_are_far_from_zero() -> None:
    svg = tile_chart(
        "t", [("a", [Tile(0.2, "+20"), Tile(-0.1, "−10", is_framed=True), Tile(None, "—")])], ["x", "y", "z"]
    )
    assert numbers(svg, "rect", "fill-opacity") == [0.55, 0.28, 0.0]
    assert re.findall(r'<rect class="([^"]+)"', svg) == ["above", "below framed", "above"]


def test_a_histogram_is_an_outline_over_its_edges() -> None:
    svg = step_chart("t", "x", "share", [0, 1, 2], [Series(0, "a", (XY(0, 0.2), XY(1, 0.8)))])
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", svg)]
    assert heights[0] == heights[1] > heights[2] == heights[3]


def test_a_chart_says_where_its_series_begin_and_end() -> None:
    svg = xy_chart("pass@k", "k", "chance", [Series(0, "base", (XY(1, 0.25), XY(8, 0.5)))])
    assert 'aria-label="pass@k: chance over k; base from 0.25 at 1 to 0.5 at 8"' in svg


@pytest.mark.parametrize(
    "markup",
    [
        xy_chart(HOSTILE, HOSTILE, HOSTILE, [Series(0, HOSTILE, (XY(1, 1, words=HOSTILE),))]),
        bar_chart(HOSTILE, HOSTILE, [[Bar(HOSTILE, 1.0, words=HOSTILE)]]),
        tile_chart(HOSTILE, [(HOSTILE, [Tile(1.0, HOSTILE, HOSTILE)])], [HOSTILE]),
        figure(HOSTILE, xy_chart("t", "x", "y", [Series(0, "a", (XY(1, 1),))]), [(0, HOSTILE, HOSTILE)], HOSTILE),
        plots([], [HOSTILE]),
    ],
)
def test_every_text_is_escaped(markup: str) -> None:
    assert "<script" not in markup
    assert "&lt;script&gt;" in markup


def test_a_legend_has_the_arms_and_what_is_said_of_them() -> None:
    assert legend_of([Series(3, "grpo", (), "81 %")]) == [(3, "grpo", "81 %")]
