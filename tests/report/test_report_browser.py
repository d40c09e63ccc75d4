"""The report in a real browser: headless Chromium, driven by Playwright, offline."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import Visit, contrast, luminance, needs_browser
from fake_runs import ARMS, write_runs

from firsthand.forge import ForgeConfig, run_forge
from firsthand.report import write_report
from firsthand.report.forged import write_forge_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = needs_browser
HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    return write_report(write_runs(root / "runs", per_family=12), root / "report.html", "Four arms")


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.page.close()


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(visit: Visit, report: Path) -> None:
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    assert visit.console == []


def test_the_table_and_the_legends_name_the_arms(visit: Visit) -> None:
    rows = visit.page.locator("#arms-table tbody th").all_inner_texts()
    assert [row.split("\n")[0].strip() for row in rows] == list(ARMS)
    assert visit.page.locator(".legend").first.inner_text().split()[::2] == ["grpo", "sft+grpo"]


def test_without_scripts_the_page_says_where_the_rollouts_are(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, java_script_enabled=False)
    assert not visit.page.locator("#rollout-browser").is_visible()
    assert "rollouts.jsonl" in visit.page.locator("#rollouts noscript").inner_text()
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_have_enough_contrast(browser: "Browser", report: Path, scheme: str) -> None:
    visit = Visit(browser, report, color_scheme=scheme)
    visit.page.wait_for_selector("#rollout-browser[data-ready]")
    texts = [("body", "body"), (".about", "body"), (".question", ".card"), (".caption", ".card"), (".text", ".text")]
    texts += [(".finding.better",) * 2]
    assert {pair: c for pair in texts if (c := contrast(visit, pair[0], "color", pair[1])) < 4.5} == {}
    lines = [contrast(visit, f".whisker.arm{arm} .bar", "stroke", ".card") for arm in range(len(ARMS))]
    assert min(lines) >= 3
    background = luminance(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (background > 0.5) == (scheme == "light")
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
