"""Reading a study's report in a real browser: verdicts, health, sorted tables, hidden arms, curves, phone and paper."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from browsing import Visit, contrast, needs_browser
from fake_runs import ARMS, write_runs
from fake_study import BUDGET, HEALTH, TUNED, VERDICTS, write_results

from firsthand.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = needs_browser
HOSTILE = "</svg></script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    write_runs(root / "runs", per_family=2)
    write_results(root / "runs", verdicts=VERDICTS, health=HEALTH, tuned=TUNED, budget=BUDGET)
    return write_report([root / "runs"], root / "report.html", "A study")


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report, viewport={"width": 1280, "height": 900})
    yield visit
    visit.page.close()


def test_a_study_asks_for_nothing_but_itself_and_complains_of_nothing(visit: Visit, report: Path) -> None:
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    assert visit.console == [] and visit.dialogs == []


# ---- verdicts and health


def test_every_verdict_leads_to_the_health_of_its_arms(visit: Visit) -> None:
    sick = visit.page.locator("#verdict-3").get_by_role("link", name="not healthy")
    sick.click()
    assert visit.page.evaluate("location.hash") == "#health-1"
    assert visit.page.locator("#health-1").evaluate("one => one.open")
    assert visit.page.locator("#health-1 .remedy").is_visible()


def test_a_mark_of_the_matrix_opens_its_sentence(visit: Visit) -> None:
    sentence = visit.page.locator("#health-2-0")
    assert not sentence.is_visible()
    visit.page.locator("#health-table tbody tr").nth(2).get_by_role("link").first.click()
    assert sentence.is_visible() and "The gradient moves by 1.2e-7." in sentence.inner_text()


# ---- tables


def first_column(visit: Visit, table: str) -> list[str]:
    names = visit.page.locator(f"{table} tbody th").all_inner_texts()
    return [name.split("\n")[0].strip() for name in names]


def sorter(visit: Visit, name: str) -> "Locator":
    return visit.page.locator("#arms-table").get_by_role("button", name=name)


def column(visit: Visit, x: int) -> list[str]:
    return [
        row.locator("td").nth(x - 1).inner_text().strip() for row in visit.page.locator("#arms-table tbody tr").all()
    ]


def test_a_table_sorts_numbers_as_numbers_down_up_and_back(visit: Visit) -> None:
    head = sorter(visit, "tokens").locator("xpath=..")
    written = first_column(visit, "#arms-table")
    for order in ("descending", "ascending", "none"):
        sorter(visit, "tokens").click()
        assert head.get_attribute("aria-sort") == order
        numbers = [float(text) for text in column(visit, 7)]
        assert max(numbers) > 10 > min(numbers), "as texts they would be in another order"
        if order == "none":
            assert first_column(visit, "#arms-table") == written
        else:
            assert numbers == sorted(numbers, reverse=order == "descending")
    assert visit.page.locator("#arms-table [aria-sort=ascending], #arms-table [aria-sort=descending]").count() == 0


def test_what_was_not_measured_is_last_either_way(visit: Visit) -> None:
    for _ in range(2):
        sorter(visit, "time").click()
        assert first_column(visit, "#arms-table")[-1] == "base" and column(visit, 12)[-1] == "—"
    seconds = [
        int(minutes) * 60 + int(rest) for minutes, rest in (re.findall(r"\d+", text) for text in column(visit, 12)[:-1])
    ]
    assert len(set(seconds)) > 1 and seconds == sorted(seconds)


def test_a_table_sorts_without_a_mouse_and_says_so(visit: Visit) -> None:
    visit.page.locator("[aria-label='Table of arms']").focus()
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "sort"
    visit.page.keyboard.press("Enter")
    assert first_column(visit, "#arms-table") == sorted(ARMS)
    assert visit.page.locator("#arms-table th").first.get_attribute("aria-sort") == "ascending"


# ---- curves


def curves(visit: Visit, arm: int) -> list[bool]:
    """Of every curve of that arm, whether it is drawn."""
    found = visit.page.locator(f"svg.chart g[data-arm='{arm}']")
    return found.evaluate_all("all => all.map(one => getComputedStyle(one).display !== 'none')")


def test_a_legend_hides_its_arm_in_every_chart_and_with_shift_all_the_others(visit: Visit) -> None:
    lines = [visit.page.locator(f"g[data-name='{name}']").first for name in ("grpo", "sft+grpo")]
    grpo, both = (int(str(line.get_attribute("data-arm"))) for line in lines)
    button = visit.page.locator("#curves .legend button", has_text=re.compile(r"^\s*grpo")).first
    assert len(curves(visit, grpo)) > 5 and all(curves(visit, grpo))
    button.click()
    assert not any(curves(visit, grpo)) and all(curves(visit, both))
    assert button.get_attribute("aria-pressed") == "false"
    button.press("Enter")
    assert all(curves(visit, grpo)) and button.get_attribute("aria-pressed") == "true"
    button.click(modifiers=["Shift"])
    assert all(curves(visit, grpo)) and not any(curves(visit, both))
    button.click(modifiers=["Shift"])
    assert all(curves(visit, grpo)) and all(curves(visit, both))


def test_pointing_at_a_curve_tells_arm_step_and_value(visit: Visit) -> None:
    chart = visit.page.locator("#curves svg.chart").first
    points = chart.locator("g[data-name='grpo']").get_attribute("data-points")
    step, value = (points or "").split()[30].split(",")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    place = chart.locator("g[data-name='grpo'] .smooth").evaluate(
        "(line, n) => [...line.getAttribute('d').matchAll(/[ML]([\\d.]+) ([\\d.]+)/g)][n].slice(1).map(Number)", 30
    )
    scale = box["width"] / 352
    visit.page.mouse.move(box["x"] + place[0] * scale, box["y"] + place[1] * scale + 1)
    tip = visit.page.locator(".tip")
    assert tip.inner_text().split("\n")[0] == f"step {step}"
    assert tip.locator(".told").inner_text().split() == ["grpo", value]
    visit.page.mouse.move(0, 0)
    assert not tip.is_visible()


def test_the_arrow_keys_read_a_curve_aloud(visit: Visit) -> None:
    chart = visit.page.locator("#curves svg.chart").first
    points = [
        pair.split(",") for pair in str(chart.locator("g[data-name='grpo']").get_attribute("data-points")).split()
    ]
    chart.focus()
    status = visit.page.locator("body > p[role=status]")
    for key, at in (("End", -1), ("ArrowLeft", -2), ("Home", 0), ("ArrowRight", 1), ("ArrowRight", 2)):
        visit.page.keyboard.press(key)
        assert status.inner_text() == f"grpo, step {points[at][0]}: {points[at][1]}"
    visit.page.keyboard.press("ArrowDown")
    assert status.inner_text().startswith(f"sft+grpo, step {points[2][0]}: ")
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator(".tip").is_visible()


@pytest.mark.parametrize("by", ["mouse", "keys"])
def test_a_point_of_a_curve_leads_to_the_rollouts_of_its_arm_and_step(visit: Visit, by: str) -> None:
    chart = visit.page.locator("#curves svg.chart").first
    line = chart.locator("g[data-name='sft+grpo']")
    [step, _] = str(line.get_attribute("data-points")).split()[20].split(",")
    if by == "mouse":
        chart.scroll_into_view_if_needed()
        place = line.locator(".smooth").evaluate(
            "line => [...line.getAttribute('d').matchAll(/[ML]([\\d.]+) ([\\d.]+)/g)][20].slice(1).map(Number)"
        )
        scale = chart.evaluate("chart => chart.getBoundingClientRect().width / 352")
        chart.click(position={"x": place[0] * scale, "y": place[1] * scale})
    else:
        chart.focus()
        for key in ("Home", "ArrowDown", *["ArrowRight"] * 20, "Enter"):
            visit.page.keyboard.press(key)
    visit.page.wait_for_timeout(500)
    title = visit.page.locator("#rollout-browser .title h3")
    assert title.inner_text().strip().startswith(f"sft+grpo, seed 0, step {step}")
    top = visit.page.locator("#rollouts").evaluate("one => one.getBoundingClientRect().top")
    assert abs(top) < 900


def test_without_scripts_everything_can_be_read_and_nothing_pretends_to_work(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, java_script_enabled=False)
    assert visit.page.locator("main button:visible, .tip:visible").count() == 0
    assert visit.page.locator("[data-scripted]:visible").count() == 0
    assert visit.page.locator("#curves svg.chart").first.get_attribute("aria-label")
    assert visit.page.locator(".verdict:visible").count() == len(VERDICTS)
    visit.page.close()


# ---- phone, paper, colours


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_a_study_is_never_wider_than_its_window(browser: "Browser", tmp_path: Path, width: int) -> None:
    long = "an-arm-of-a-very-long-name-that-nobody-would-ever-type" * 2
    write_runs(tmp_path / "runs", per_family=1, arms={"base": ARMS["base"], long: ARMS["grpo"]})
    verdict = VERDICTS[0].model_copy(update={"arms": (long,), "ask": long, "sentence": long})
    health = HEALTH[1].model_copy(update={"arm": long})
    tuned = TUNED[0].model_copy(update={"arm": long, "settings": {long: long}})
    budget = {**BUDGET, "of": long, "arms": {long: BUDGET["arms"]["grpo"]}}
    write_results(tmp_path / "runs", verdicts=[verdict], health=[health], tuned=[tuned], budget=budget)
    visit = Visit(
        browser,
        write_report([tmp_path / "runs"], tmp_path / "report.html", long),
        viewport={"width": width, "height": 800},
    )
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.close()


def test_on_paper_what_is_folded_is_open_and_the_bars_are_gone(visit: Visit, tmp_path: Path) -> None:
    visit.page.evaluate("""() => {
      window.count = () => document.querySelectorAll("#health details:not([open]), #curves details:not([open])").length;
      addEventListener("beforeprint", () => (window.folded = window.count()));
    }""")
    before = visit.page.evaluate("window.count()")
    assert before > 2
    assert visit.page.pdf(path=tmp_path / "page.pdf").startswith(b"%PDF")
    assert visit.page.evaluate("window.folded") == 0
    assert visit.page.evaluate("window.count()") == before
    visit.page.emulate_media(media="print")
    assert visit.page.locator("header:visible, .skip:visible").count() == 0


def test_nothing_moves_where_that_is_not_wanted(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, reduced_motion="reduce")
    moving = "all => all.filter(one => getComputedStyle(one).transitionDuration !== '0s').length"
    assert visit.page.locator("body *").evaluate_all(moving) == 0
    assert visit.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    visit.page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_study_says_has_enough_contrast(browser: "Browser", report: Path, scheme: str) -> None:
    visit = Visit(browser, report, color_scheme=scheme)
    texts = [(f".effect.{effect}",) * 2 for effect in ("helps", "hurts", "open", "unhealthy")]
    texts += [(f".state.{state}", ".card") for state in ("passed", "failed", "unmeasured")]
    texts += [(".verdict .sentence", ".card"), (".facts dt", ".card"), (".badge",) * 2, (".side a", ".card")]
    assert {pair: c for pair in texts if (c := contrast(visit, pair[0], "color", pair[1])) < 4.5} == {}
    visit.page.close()


SIGHT = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as the colour-blind see it."""
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                   [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip


def linear(colour: str) -> np.ndarray:
    """sRGB `#rrggbb` -> linear RGB."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB -> CIELAB under D65."""
    t = TO_XYZ @ rgb.clip(0, 1) / TO_XYZ.sum(axis=1)
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def themes() -> list[dict[str, str]]:
    """The colours of the light and of the dark theme, by name."""
    css = (Path(write_report.__code__.co_filename).parent / "page.css").read_text()
    light, dark = re.findall(r":root \{\s*color-scheme.*?\n\}|:root \{\s*--paper.*?\}", css, re.S)[:2]
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for block in (light, dark)]


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("sight", SIGHT)
def test_the_arms_colours_are_told_apart_by_the_colour_blind(theme: int, sight: str) -> None:
    """By 20 and more in CIELAB, of which 2.3 is just noticeable."""
    colours = [themes()[theme][f"arm{i}"] for i in range(8)]
    seen = [lab(np.array(SIGHT[sight]) @ linear(colour)) for colour in colours]
    apart = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(range(8), 2)}
    assert {pair: distance for pair, distance in apart.items() if distance < 20} == {}


@pytest.mark.parametrize("theme", [0, 1])
def test_the_arms_colours_stand_out_from_the_page(theme: int) -> None:
    """WCAG 2.2 asks for 3 of graphics."""
    colours = themes()[theme]
    weights = np.array([0.2126, 0.7152, 0.0722])
    for i in range(8):
        for ground in ("fff" if theme == 0 else colours["card"], colours["paper"]):
            ground = "#ffffff" if ground == "fff" else ground
            low, high = sorted(float(linear(one) @ weights) for one in (colours[f"arm{i}"], ground))
            assert (high + 0.05) / (low + 0.05) >= 3, (i, ground)


# ---- hostile texts


def test_hostile_names_run_nothing_wherever_they_are_shown(browser: "Browser", tmp_path: Path) -> None:
    [run] = write_runs(tmp_path / "runs", per_family=1, arms={"grpo": ARMS["grpo"]})
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**recipe, "name": HOSTILE}))
    evil = VERDICTS[0].model_copy(update={"ask": HOSTILE, "sentence": HOSTILE, "arms": (HOSTILE,)})
    check = HEALTH[1].checks[0].model_copy(update={"name": HOSTILE, "what": HOSTILE, "remedy": HOSTILE})
    health = HEALTH[1].model_copy(update={"arm": HOSTILE, "checks": (check,)})
    write_results(tmp_path / "runs", verdicts=[evil], health=[health])
    visit = Visit(browser, write_report([tmp_path / "runs"], tmp_path / "report.html", HOSTILE))
    assert visit.page.locator(".verdict h3").inner_text() == HOSTILE
    assert visit.page.locator(".checks b").text_content() == HOSTILE
    visit.page.locator("#curves svg.chart").first.focus()
    visit.page.keyboard.press("End")
    assert visit.page.locator(".tip .told").inner_text().startswith(HOSTILE)
    visit.page.locator("#curves .legend button").first.click()
    assert (visit.dialogs, visit.console) == ([], [])
    visit.page.close()
