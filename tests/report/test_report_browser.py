"""The report in a real browser: headless Chromium, driven by Playwright, offline."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import ARMS, judged, write_lines, write_runs

from firsthand.forge import ForgeConfig, run_forge
from firsthand.records import Score
from firsthand.report import write_report
from firsthand.report.forged import write_forge_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'firsthand[dev]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: apt-get install chromium, or any chromium on the PATH"
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    return write_report(write_runs(root / "runs", per_family=12), root / "report.html", "Four arms")


class Visit:
    """A page that was opened, and everything that it did which a report must not do."""

    def __init__(self, browser: "Browser", report: Path, **context: Any) -> None:
        self.page = browser.new_page(**context)
        self.console: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dismiss)
        self.page.goto(report.as_uri())
        self.page.wait_for_load_state("load")

    def _dismiss(self, dialog: "Dialog") -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.page.close()


def shown(visit: Visit) -> int:
    return visit.page.locator(".item:visible").count()


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(visit: Visit, report: Path) -> None:
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    assert visit.console == []


def test_every_picture_is_drawn(visit: Visit) -> None:
    widths = visit.page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    assert len(widths) > 20 and all(widths)
    small = visit.page.locator("img").first
    assert small.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    width, height, shown_width = small.evaluate("image => [image.naturalWidth, image.naturalHeight, image.width]")
    assert shown_width == pytest.approx(width * (336 // max(width, height)), abs=3)


def test_the_table_and_the_legends_name_the_arms(visit: Visit) -> None:
    rows = visit.page.locator("#arms-table tbody th").all_inner_texts()
    assert [row.split("\n")[0].strip() for row in rows] == list(ARMS)
    assert visit.page.locator(".legend").first.inner_text().split()[::2] == ["grpo", "sft+grpo"]


def test_a_family_filter_shows_only_that_family(visit: Visit) -> None:
    everything = shown(visit)
    visit.page.select_option("#filter-family", "count")
    assert set(visit.page.locator(".item:visible .caption b").all_inner_texts()) == {"count"}
    assert visit.page.locator("#filter-count").inner_text() == f"{shown(visit)} of {everything} shown"
    visit.page.select_option("#filter-family", "")
    assert shown(visit) == everything


def test_an_arm_and_an_outcome_are_filtered_together(visit: Visit) -> None:
    visit.page.select_option("#filter-arm", label="sft")
    visit.page.select_option("#filter-outcome", "wrong")
    told = visit.page.locator(".item:visible .reply:has(h4 .arm1) > h4 .mark").all_inner_texts()
    assert 0 < len(told) == shown(visit) < visit.page.locator(".item").count()
    assert all("wrong" in mark for mark in told)


def test_questions_on_which_arms_disagree_can_be_picked_out(visit: Visit) -> None:
    visit.page.select_option("#filter-outcome", "disagree")
    marks = [
        set(item.locator(".reply > h4 .mark").all_inner_texts()) for item in visit.page.locator(".item:visible").all()
    ]
    assert marks and all(len({re.sub(r"[\d.]", "", mark).strip() for mark in one}) > 1 for one in marks)


def test_without_scripts_everything_is_there_and_no_dead_filter(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, java_script_enabled=False)
    assert not visit.page.locator("#filters").is_visible()
    assert shown(visit) == visit.page.locator(".item").count() > 20
    visit.page.close()


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_is_never_wider_than_its_window(browser: "Browser", report: Path, width: int) -> None:
    visit = Visit(browser, report, viewport={"width": width, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_of_several_tables_fits_a_phone_and_gives_each_its_own_names(
    browser: "Browser", tmp_path: Path, width: int
) -> None:
    root = tmp_path / "a-study-with-a-long-name-that-cannot-be-broken"
    runs = write_runs(root, per_family=4, seeds=(0, 1))
    table = json.loads((runs[0] / "evaluation.json").read_text())
    table["protocol"]["max_new_tokens"] = 9
    table["data"] = {"path": f"{'a-file-of-a-long-name' * 4}.jsonl"}
    (runs[0] / "evaluation.json").write_text(json.dumps(table))
    visit = Visit(
        browser,
        write_report([tmp_path], tmp_path / "report.html", "Two tables"),
        viewport={"width": width, "height": 844},
    )
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    assert visit.page.locator(".arms-table").count() == visit.page.locator("h2.apart").count() == 2
    ids = visit.page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids)) and visit.console == []
    visit.page.close()


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance of `rgb(r, g, b)`."""
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(visit: Visit, selector: str, foreground: str, background: str) -> float:
    """WCAG 2.2 contrast of a computed property of `selector` with the background of the element `background`."""
    script = "([s, p]) => getComputedStyle(document.querySelector(s))[p]"
    pair = [(selector, foreground), (background, "backgroundColor")]
    light, dark = sorted((luminance(visit.page.evaluate(script, list(one))) for one in pair), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_have_enough_contrast(browser: "Browser", report: Path, scheme: str) -> None:
    visit = Visit(browser, report, color_scheme=scheme)
    texts = [("body", "body"), (".about", "body"), (".question", ".item"), (".caption", ".item"), (".text", ".text")]
    texts += [(f".mark.{o}", f".mark.{o}") for o in ("right", "wrong", "partly")] + [(".finding.better",) * 2]
    assert {pair: c for pair in texts if (c := contrast(visit, pair[0], "color", pair[1])) < 4.5} == {}
    lines = [contrast(visit, f".whisker.arm{arm} .bar", "stroke", ".card") for arm in range(len(ARMS))]
    assert min(lines) >= 3
    background = luminance(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (background > 0.5) == (scheme == "light")
    visit.page.close()


def test_a_hostile_reply_runs_nothing(browser: "Browser", tmp_path: Path) -> None:
    [run] = write_runs(tmp_path / "runs", per_family=1, arms={"grpo": ARMS["grpo"]})
    evil = judged(HOSTILE, 0.0, parsed=HOSTILE, why=HOSTILE)
    scores = [Score.model_validate_json(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    write_lines(
        run / "scores.jsonl",
        [s.model_copy(update={"greedy": evil, "family": HOSTILE, "gold": HOSTILE}) for s in scores],
    )
    visit = Visit(browser, write_report([run], tmp_path / "report.html", HOSTILE))
    visit.page.select_option("#filter-family", HOSTILE)
    assert shown(visit) == len(scores)
    assert (visit.dialogs, visit.console) == ([], [])
    assert visit.page.locator(".reply .text").first.inner_text() == HOSTILE
    visit.page.close()


def test_a_script_that_slipped_in_would_be_stopped_by_the_pages_policy(
    browser: "Browser", report: Path, tmp_path: Path
) -> None:
    """The second line of defence, seen to hold where the first, escaping, is taken away."""
    pierced = tmp_path / "pierced.html"
    pierced.write_text(report.read_text("utf-8").replace("<main", "<script>alert(1)</script><main"), encoding="utf-8")
    visit = Visit(browser, pierced)
    assert visit.dialogs == []
    assert any("Content Security Policy" in line for line in visit.console)
    visit.page.close()


# ---- the page of a forge


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forge whose rows try to run something."""
    root = tmp_path_factory.mktemp("forge")
    question = json.dumps({"question": HOSTILE, "answer": "1", "kind": "digit"})
    lines = [json.dumps({"question": f"{HOSTILE} {i}", "answer": "1", "kind": "digit"}) for i in range(20)]
    (root / "rows.jsonl").write_text("\n".join([*lines, question, question]))
    sources = [{"path": str(root / "rows.jsonl")}, {"worlds": ["count", "chart"], "number": 60}]
    config = ForgeConfig.model_validate({"name": "page", "sources": sources, "teachers": {"default": {"scenes": True}}})
    _, costs = run_forge(config, root / "out")
    return write_forge_report(root / "out", costs)


def test_the_page_of_a_forge_shows_its_funnel_and_pictures_and_runs_nothing(browser: "Browser", forged: Path) -> None:
    visit = Visit(browser, forged)
    assert [url for url in visit.requests if not url.startswith("data:")] == [forged.as_uri()]
    assert visit.console == [] and visit.dialogs == []
    funnel = json.loads((forged.parent / "funnel.json").read_text())
    cells = visit.page.locator("#funnel-table tbody tr")
    assert cells.count() == 6
    for i, step in enumerate(funnel["steps"]):
        text = cells.nth(i).inner_text()
        assert step["step"] in text and str(step["kept"]) in text and all(reason in text for reason in step["dropped"])
    widths = visit.page.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
    assert len(widths) > 5 and all(width > 0 for width in widths)
    assert visit.page.locator("#kept .item").count() > 4 and visit.page.locator("#dropped .item").count() > 2
    costs = visit.page.get_by_role("heading", name="Costs")
    assert costs.evaluate("one => parseFloat(getComputedStyle(one).marginTop)") >= 16
    for width in (390, 1280):
        visit.page.set_viewport_size({"width": width, "height": 844})
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.close()
