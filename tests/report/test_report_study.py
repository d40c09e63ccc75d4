"""What a study found, as the report reads it from results.json and lays it out: verdicts, health, tuning, budgets."""

import base64
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_runs
from fake_study import BUDGET, HEALTH, TUNED, VERDICTS, write_results

from firsthand.findings import CheckState, Effect
from firsthand.report import write_report
from firsthand.report.panels import AnalysisPanel
from firsthand.report.results import StudyResults, read_results
from firsthand.report.verdicts import lay_out

HOSTILE = "</td></script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Words(HTMLParser):
    """The text that a reader sees, section by section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.at = ""
        self.sections: dict[str, str] = {}
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "section" and (found := dict(attrs).get("id")):
            self.at = found

    def handle_data(self, data: str) -> None:
        self.sections[self.at] = " ".join(f"{self.sections.get(self.at, '')} {data}".split())


@pytest.fixture(scope="module")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of every arm, on one question of each family."""
    root = tmp_path_factory.mktemp("runs")
    write_runs(root / "all" / "study", per_family=1)
    return root / "all" / "study"


@pytest.fixture
def study(small_runs: Path) -> Iterator[Path]:
    """The same, for a test that writes the results."""
    yield small_runs
    (small_runs / "results.json").unlink(missing_ok=True)


def page(study: Path, out: Path, **parts: Any) -> Words:
    """The page of these runs beside a results.json of these parts."""
    write_results(study, **parts)
    return Words(write_report([study], out / "report.html", "A study").read_text("utf-8"))


def test_the_page_of_a_study_opens_with_its_verdicts_and_then_its_health(study: Path, tmp_path: Path) -> None:
    words = page(study, tmp_path, verdicts=VERDICTS, health=HEALTH, tuned=TUNED, budget=BUDGET)
    assert [*words.sections][1:5] == ["verdicts", "health", "settings", "result"]
    verdicts = words.sections["verdicts"]
    assert "4 questions: 1 helps, 1 hurts, 1 not resolved, 1 baseline not healthy" in verdicts
    for verdict in VERDICTS:
        assert verdict.ask in verdicts and verdict.sentence in verdicts
    assert "9,000 items with as many seeds as there are, or 40 seeds with as many items as there are" in verdicts
    assert "0.012 (0.004 alone)" in verdicts and "below 0.001 (below 0.001 alone)" in verdicts
    assert "1,000 items, 5 seeds" in verdicts
    health = words.sections["health"]
    assert "sft 1 check passed, 1 failed, 1 unmeasured" in health
    assert "base nothing to check" in health
    assert "To try: a rate of 1e-4" in health
    settings = words.sections["settings"]
    assert "optimizer.lr 0.001 of 0.0001, 0.001 at the edge of its grid" in settings
    assert "TFLOP were matched to those of grpo" in settings
    assert "sft 90 own 30 0 120,000 own 40,000 4,800 own 1,600 3.3 own 1.1 1.50" in settings


def test_of_an_amount_that_was_matched_each_arm_has_its_share(study: Path, tmp_path: Path) -> None:
    budget = {**{key: value for key, value in BUDGET.items() if key != "of"}, "amount": 3.2e15}
    settings = page(study, tmp_path, budget=budget).sections["settings"]
    assert "TFLOP were matched to one amount" in settings and "of the amount" in settings
    assert "1.00" in settings and "1.50" in settings


def test_a_page_without_results_is_one_without_these_sections(study: Path, tmp_path: Path) -> None:
    words = Words(write_report([study], tmp_path / "report.html", "No study").read_text("utf-8"))
    assert {"verdicts", "health", "settings"}.isdisjoint(words.sections)
    assert "result" in words.sections


def test_the_results_are_found_beside_the_runs_and_in_the_folder_that_is_given(study: Path, tmp_path: Path) -> None:
    write_results(study, verdicts=VERDICTS)
    for given in ([next(study.glob("grpo-*"))], [study], [study.parent]):
        words = Words(write_report(given, tmp_path / "report.html", "A study").read_text("utf-8"))
        assert VERDICTS[0].ask in words.sections["verdicts"]


def test_the_arms_stand_in_the_studys_order_whatever_the_folders_is(study: Path, tmp_path: Path) -> None:
    order = ["sft+grpo", "sft", "base", "grpo"]
    (study / "results.json").write_text(json.dumps({"arms": {arm: {} for arm in order}}))
    html = write_report([study], tmp_path / "report.html", "A study").read_text("utf-8")
    table = html[html.index('id="arms-table"') :]
    assert re.findall(r'<th scope="row" data-value="([^"]+)"', table)[:4] == order


def test_an_effect_is_told_by_a_shape_and_a_word(study: Path, tmp_path: Path) -> None:
    words = page(study, tmp_path, verdicts=VERDICTS, health=HEALTH)
    for told in ("▲ helps", "▼ hurts", "? not resolved", "! baseline not healthy", "✗ not healthy", "✓ healthy"):
        assert told in words.sections["verdicts"]
    for told in ("✓ passed", "✗ failed", "? unmeasured"):
        assert told in words.sections["health"]
    assert {effect.value for effect in Effect} <= set(re.findall("|".join(Effect), words.sections["verdicts"]))
    assert {state.value for state in CheckState} <= set(words.sections["health"].split())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "results.json cannot be read"),
        ("[1]", "results.json holds no JSON object"),
        ("[" * 100_000, "results.json cannot be read"),
        ('{"verdicts": 7}', "verdicts is left out, because verdicts is wrong: Input should be"),
        ('{"verdicts": [{"name": "x"}]}', "verdicts is left out, because verdicts.0.ask is wrong: Field required"),
        ('{"health": [{"arm": "a", "checks": [{}]}]}', "health is left out, because health.0.checks.0.name is wrong"),
    ],
)
def test_damaged_results_are_a_notice(study: Path, tmp_path: Path, content: str, said: str) -> None:
    (study / "results.json").write_text(content)
    words = Words(write_report([study], tmp_path / "report.html", "damaged").read_text("utf-8"))
    assert any(said in text for text in words.sections.values())
    assert "verdicts" not in words.sections


def test_damage_to_one_part_does_not_hide_another(tmp_path: Path) -> None:
    write_results(tmp_path, verdicts=VERDICTS, health=HEALTH)
    content = json.loads((tmp_path / "results.json").read_text())
    content["health"][1]["checks"][0]["state"] = "fine"
    (tmp_path / "results.json").write_text(json.dumps(content))
    results, [notice] = read_results([tmp_path])
    assert results is not None and results.verdicts == VERDICTS and results.health == ()
    assert "health.1.checks.0.state" in notice


def test_of_two_studies_neither_is_taken_for_the_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, verdicts=VERDICTS)
    results, [notice] = read_results([tmp_path / "one", tmp_path / "two"])
    assert results is None and "2 studies" in notice


def test_a_number_that_is_not_finite_was_not_measured(tmp_path: Path) -> None:
    write_results(tmp_path, verdicts=VERDICTS)
    text = (tmp_path / "results.json").read_text()
    for name, number in (("difference", "1e999"), ("low", "NaN")):
        text = text.replace(f'"{name}": {getattr(VERDICTS[0], name)}', f'"{name}": {number}')
    (tmp_path / "results.json").write_text(text)
    results, notices = read_results([tmp_path])
    assert results is not None and notices == []
    assert (results.verdicts[0].difference, results.verdicts[0].low) == (None, None)
    [card, *_] = lay_out(results, []).cards
    assert card.picture == "" and "difference" not in dict(card.facts)


def test_intervals_share_a_scale_with_zero_in_the_middle() -> None:
    cards = lay_out(StudyResults(verdicts=VERDICTS), []).cards
    zeros = {re.search(r'class="zero" x1="([\d.]+)"', card.picture)[1] for card in cards}  # type: ignore[index]
    assert zeros == {"180.0"}
    ends = [float(x) for card in cards for x in re.findall(r'class="bar" x1="([\d.]+)" x2="([\d.]+)"', card.picture)[0]]
    assert min(ends) >= 6 and max(ends) <= 354 and len({*ends}) == 2 * len(cards)


def test_hostile_names_in_results_are_text(study: Path, tmp_path: Path) -> None:
    evil = VERDICTS[0].model_copy(update={"ask": HOSTILE, "sentence": HOSTILE, "arms": (HOSTILE,), "measure": HOSTILE})
    check = HEALTH[1].checks[0].model_copy(update={"name": HOSTILE, "what": HOSTILE, "remedy": HOSTILE})
    health = HEALTH[1].model_copy(update={"arm": HOSTILE, "checks": (check,)})
    tuned = TUNED[0].model_copy(update={"arm": HOSTILE, "settings": {HOSTILE: HOSTILE}, "grid": {HOSTILE: (HOSTILE,)}})
    budget = {"match": HOSTILE, "of": HOSTILE, "arms": {HOSTILE: {"steps": 1.0, HOSTILE: 2.0}}}
    before = Words(write_report([study], tmp_path / "report.html", "A study").read_text("utf-8")).tags
    write_results(study, verdicts=[evil], health=[health], tuned=[tuned], budget=budget)
    html = write_report([study], tmp_path / "report.html", "A study").read_text("utf-8")
    words = Words(html)
    assert words.tags.count("script") == before.count("script") and words.tags.count("img") == before.count("img")
    assert html.count("onerror=alert(2)") == html.count("onerror=alert(2)&gt;") > 8


def test_the_numbers_of_an_analysis_are_a_file_without_formulas() -> None:
    panel = AnalysisPanel("x", "X", "about", "", ("name", "value"), (("=1+1", -1), ("a,b", None), ("c", 0.5)))  # type: ignore[arg-type]
    text = base64.b64decode(panel.csv_uri.partition(",")[2]).decode()
    assert text == 'name,value\n\'=1+1,-1\n"a,b",\nc,0.5\n'


def test_data_that_a_recipe_names_in_a_word_are_no_filter_and_no_error(tmp_path: Path) -> None:
    """As an earlier version wrote them, or as damage leaves them."""
    for run in write_runs(tmp_path / "runs", per_family=1):
        recipe = json.loads((run / "recipe.json").read_text())
        (run / "recipe.json").write_text(json.dumps({**recipe, "data": "somewhere"}))
    assert write_report([tmp_path / "runs"], tmp_path / "report.html", "runs").exists()
