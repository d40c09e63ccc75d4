"""The report: what it claims and on what grounds, what it does with damaged runs, and that replies cannot escape."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import ARMS, judged, write_lines, write_runs, write_scored
from PIL import Image

from firsthand.records import Judged, Reply, Rollout, Score, Status, Step, StopReason, Verdict
from firsthand.report import charts, curves, write_report
from firsthand.report.arms import Arm, compare_arms, make_arms, reference, summarise
from firsthand.report.charts import Curve, Point
from firsthand.report.headline import Headline, doubts, headline
from firsthand.report.pictures import shot
from firsthand.report.runs import read_run, read_runs
from firsthand.stats import Covers, Estimate

HOSTILE = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)><answer>7</answer> {{ 7 * 7 }}"


class Page(HTMLParser):
    """The elements of a page, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    @property
    def scripts(self) -> list[dict[str, str | None]]:
        """Those that run; data is in elements of another type."""
        return [attrs for attrs in self.all("script") if "type" not in attrs]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_runs(tmp_path_factory.mktemp("runs"), per_family=6)


@pytest.fixture(scope="module")
def html(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html", "Four arms").read_text("utf-8")


@pytest.fixture
def grpo(tmp_path: Path) -> Path:
    """A complete GRPO run that a test may damage."""
    return write_runs(tmp_path / "runs", per_family=2, arms={"grpo": ARMS["grpo"]})[0]


def scored_arms(root: Path, **scores: Sequence[float | None]) -> list[Arm]:
    return make_arms(read_runs([write_scored(root, name, values) for name, values in scores.items()]))


def halves(right: int, of: int) -> list[float]:
    return [1.0] * right + [0.0] * (of - right)


def words(said: Headline) -> str:
    return Page(" ".join([said.lead, *said.rest])).text.replace("\u00a0", " ")


def curve(*ys: float, index: int = 0, name: str = "grpo") -> Curve:
    line = tuple(Point(x, y) for x, y in enumerate(ys, start=1))
    return Curve(index, name, (line,), line)


# Run directories, whole and damaged.


def test_a_complete_run_has_nothing_to_complain_of(runs: list[Path]) -> None:
    assert [doubts(run) for run in read_runs(runs)] == [[], [], [], []]


def cut(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).write_bytes((run / name).read_bytes()[:-40])

    return damage


def break_second_line(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([lines[0], '{"step": "two"}\n', *lines[2:]]))


def repeat_last_step(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*lines, lines[-1]]))


def said_in(file: str, /, **settings: Any) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / file).write_text(json.dumps({**json.loads((run / file).read_text()), **settings}))

    return damage


def loop(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        (run / name).symlink_to(name)

    return damage


def lose_all_scores(run: Path) -> None:
    (run / "scores.jsonl").unlink()
    (run / "evaluation.json").unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "DONE").unlink(), "there is no DONE file: the run has not ended"),
        (lambda run: (run / "recipe.json").unlink(), "recipe.json is missing"),
        (cut("recipe.json"), "recipe.json cannot be read"),
        (said_in("recipe.json", seed="x"), "recipe.json cannot be read (`seed` is 'x'): arm and seed are taken from"),
        (said_in("recipe.json", id=[1]), "recipe.json cannot be read (`id` is [1])"),
        (said_in("recipe.json", seed=float("inf")), "recipe.json cannot be read (`seed` is inf)"),
        (said_in("recipe.json", name="\ud800"), "recipe.json cannot be read (it holds text that is no Unicode)"),
        (said_in("evaluation.json", protocol=3, data=4), "grpo"),
        (said_in("evaluation.json", protocol={"greedy": False, "seed": float("inf")}), "grpo"),
        (lambda run: (run / "recipe.json").write_bytes(b"[" * 100_000), "recipe.json cannot be read (maximum recur"),
        (lambda run: (run / "evaluation.json").write_bytes(b"[" * 100_000), "evaluation.json cannot be read"),
        (loop("recipe.json"), "recipe.json cannot be read"),
        (loop("scores.jsonl"), "scores.jsonl is missing"),
        (lambda run: (run / "metrics.jsonl").unlink(), "metrics.jsonl has 0 of the 60 steps"),
        (cut("metrics.jsonl"), "metrics.jsonl ends in a torn line"),
        (cut("metrics.jsonl"), "metrics.jsonl has 59 of the 60 steps"),
        (
            break_second_line,
            "lines of metrics.jsonl that are no Step, left out: 1; the first is line 2, step: Input should be",
        ),
        (repeat_last_step, "steps that metrics.jsonl has twice: 1; the later line counts"),
        (cut("rollouts.jsonl"), "rollouts.jsonl ends in a torn line"),
        (cut("scores.jsonl"), "scores.jsonl ends in a torn line"),
        (lambda run: (run / "scores.jsonl").unlink(), "scores.jsonl is missing"),
        (cut("evaluation.json"), "evaluation.json cannot be read"),
        (lambda run: (run / "evaluation.json").unlink(), "evaluation.json is missing: the table is worked out from"),
        (lose_all_scores, "evaluation.json and scores.jsonl are missing: the run has not been evaluated"),
    ],
)
def test_a_damaged_run_is_reported_in_words(grpo: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(grpo)
    page = Page(write_report([grpo], grpo.parent / "report.html", "damaged").read_text("utf-8"))
    assert said in page.text
    assert "grpo" in page.text


def test_without_a_recipe_the_directory_names_arm_and_seed(grpo: Path) -> None:
    (grpo / "recipe.json").unlink()
    run = read_run(grpo)
    assert (run.name, run.seed, run.id) == ("grpo", 0, grpo.name[-8:])


def test_two_accounts_of_one_evaluation_that_disagree_are_called_out(grpo: Path) -> None:
    evaluation = json.loads((grpo / "evaluation.json").read_text())
    (grpo / "evaluation.json").write_text(json.dumps({**evaluation, "accuracy": 0.999}))
    assert ["evaluation.json gives an accuracy of 99.9" in doubt for doubt in doubts(read_run(grpo))] == [True]


def test_a_directory_that_is_no_run_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"expected a run directory, or a folder that holds some, got .*, which holds none; check the path",
    ):
        write_report([tmp_path], tmp_path / "report.html", "nothing")
    assert not (tmp_path / "report.html").exists()


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a run directory.*gone, which is not there"):
        read_runs([tmp_path / "gone"])


def test_a_folder_of_runs_stands_for_them_and_so_does_a_folder_of_such(grpo: Path) -> None:
    assert read_runs([grpo.parent]) == read_runs([grpo.parents[1]]) == read_runs([grpo])


def test_a_recipe_that_is_no_object_is_refused(grpo: Path) -> None:
    (grpo / "recipe.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"expected a JSON object in .*recipe\.json, got list"):
        read_run(grpo)


def test_no_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one run directory, got none"):
        read_runs([])


def test_a_copy_of_a_run_does_not_pass_for_a_second_seed(grpo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / grpo.name
    copy.mkdir(parents=True)
    (copy / "recipe.json").write_bytes((grpo / "recipe.json").read_bytes())
    with pytest.raises(ValueError, match="every run may be reported once"):
        read_runs([grpo, copy])
    assert len(read_runs([grpo, grpo])) == 1


# Arms and their differences.


def test_runs_that_differ_in_their_seed_are_one_arm(tmp_path: Path) -> None:
    arms = make_arms(read_runs(write_runs(tmp_path, per_family=2, seeds=(1, 0))))
    assert [(arm.name, [run.seed for run in arm.runs]) for arm in arms] == [(name, [0, 1]) for name in ARMS]
    assert arms[3].starts_from == "sft"


def test_two_recipes_of_one_name_stay_two_arms(grpo: Path, tmp_path: Path) -> None:
    other = write_scored(tmp_path / "other", "grpo", [1.0])
    names = [arm.name for arm in make_arms(read_runs([grpo, other]))]
    assert names == [f"grpo ({path.name[-8:-2]})" for path in (grpo, other)]


def test_an_arms_accuracy_is_the_mean_of_its_seeds(tmp_path: Path) -> None:
    folders = [write_scored(tmp_path, "grpo", halves(right, 40), seed=right) for right in (10, 20, 30)]
    [arm] = make_arms(read_runs(folders))
    assert arm.accuracy is not None
    assert (arm.accuracy.value, arm.accuracy.n, arm.accuracy.covers) == (0.5, 40, Covers.BOTH)
    # Seeds at 25, 50 and 75 % say more about what a fourth would score than 40 questions do.
    assert arm.accuracy.low is not None and arm.accuracy.low < 0.32


def test_unmeasured_replies_are_counted_and_enter_no_mean() -> None:
    verdicts = [judged("a", 1.0), judged("b", None, Status.TIMED_OUT), judged("c", 0.0, stop=StopReason.LENGTH)]
    scores = [Score(example_id=str(i), question="", gold="", images=(), greedy=v) for i, v in enumerate(verdicts)]
    found = summarise(scores)
    assert (found.accuracy, found.n, found.unmeasured) == (0.5, 2, 1)
    assert found.truncated == pytest.approx(1 / 3)
    assert (found.sampled_accuracy, found.pass_at) == (None, {})


def test_arms_are_compared_on_the_questions_that_both_measured(tmp_path: Path) -> None:
    arms = scored_arms(tmp_path, base=[0.0, 0.0, None, 1.0], grpo=[1.0, None, 1.0, 1.0])
    found = compare_arms(arms[1], arms[0])
    assert found is not None
    assert (found.estimate.value, found.estimate.n) == (0.5, 2)


def test_arms_without_a_question_in_common_are_neither_compared_nor_ranked(tmp_path: Path) -> None:
    folders = [
        write_scored(tmp_path, "base", halves(48, 80)),
        write_scored(tmp_path, "small", [1.0], first=500),
    ]
    arms = make_arms(read_runs(folders))
    assert compare_arms(arms[1], arms[0]) is None
    assert [arm.table for arm in arms] == ["data, 80 questions", "data, 1 questions"]
    page = Page(write_report(folders, tmp_path / "report.html", "apart").read_text("utf-8"))
    said = page.text[page.text.index("Skip to") : page.text.rindex("Provenance")].replace("\u00a0", " ")
    assert "2 tables, each of other questions, another protocol or another scoring: numbers of different" in said
    assert not re.search(r"scores highest|is best|better|worse|unpaired", said)
    assert [row["id"] for row in page.all("table") if "id" in row if "arms" in str(row["id"])] == [
        "arms-table",
        "arms-table-2",
    ]


def test_too_few_questions_have_intervals_and_no_ranking(tmp_path: Path) -> None:
    said = words(headline(scored_arms(tmp_path, base=[0.0] * 19, grpo=[1.0] * 19)))
    assert said.startswith(
        "Too few questions to rank the arms: grpo answers 100.0 % of 19 held-out questions right (95 % interval 83.2 "
        "to 100.0 over questions) and base answers 0.0 % of 19"
    )
    assert not re.search("best|highest|above|below [a-z]", said)
    enough = words(headline(scored_arms(tmp_path / "more", base=[0.0] * 20, grpo=[1.0] * 20)))
    assert enough.startswith("grpo is best")


def test_arms_that_share_too_few_measured_questions_are_not_ranked(tmp_path: Path) -> None:
    nearly = [None] * 15 + [1.0] * 25
    arms = scored_arms(tmp_path, base=[0.0] * 25 + [None] * 15, grpo=nearly)
    assert words(headline(arms)).startswith("Too few questions to rank the arms: grpo answers")


def test_an_arm_that_measured_nothing_is_compared_with_nothing(tmp_path: Path) -> None:
    arms = scored_arms(tmp_path, base=[0.0, 1.0], grpo=[None, None])
    assert compare_arms(arms[1], arms[0]) is None


def test_the_reference_is_base_wherever_it_stands(tmp_path: Path) -> None:
    assert reference(scored_arms(tmp_path, grpo=[1.0], base=[1.0])).name == "base"


# The headline.


def test_a_clear_winner_is_best_with_its_lead_and_interval(tmp_path: Path) -> None:
    said = words(headline(scored_arms(tmp_path, base=halves(40, 100), grpo=halves(80, 100))))
    assert said.startswith(
        "grpo is best: it answers 80.0 % of 100 held-out questions right (95 % interval 71.1 to 86.7 over questions)"
    )
    assert re.search(
        r"40\.0 points above base \(95 % interval \+[23]\d\.\d to \+[45]\d\.\d over .*, paired on 100 .*: better\)",
        said,
    )
    assert "not the luck of training" in said


def test_a_lead_within_its_interval_is_not_called_best(tmp_path: Path) -> None:
    noisy = [1.0, 0.0] * 25 + [1.0]
    said = words(headline(scored_arms(tmp_path, base=[0.0] * 51, sft=[0.0, 1.0] * 25 + [0.0], grpo=noisy)))
    assert said.startswith("grpo scores highest")
    assert "its lead over sft is not resolved" in said
    assert re.search(r"grpo is 2\.0 points above sft \(95 % interval −.* to \+.*: not resolved\)", said)


def test_arms_that_score_the_same_have_no_highest_among_them(tmp_path: Path) -> None:
    said = words(headline(scored_arms(tmp_path, base=halves(40, 100), sft=halves(40, 100), grpo=halves(30, 100))))
    assert said.startswith("base and sft score the same, and no arm scores higher: base answers 40.0 % of 100")
    assert "scores highest" not in said and "is best" not in said


def test_an_arm_that_training_made_worse_is_told(tmp_path: Path) -> None:
    arms = scored_arms(tmp_path, base=halves(50, 100), sft=halves(30, 100), grpo=halves(80, 100))
    assert "sft is 20.0 points below base" in words(headline(arms))


def test_when_nothing_beats_base_the_headline_says_so(tmp_path: Path) -> None:
    said = words(headline(scored_arms(tmp_path, base=halves(60, 100), grpo=halves(30, 100))))
    assert said.startswith("base is best")
    assert "No other arm scores above base. grpo is 30.0 points below base" in said


def test_an_unfinished_arm_is_not_ranked(tmp_path: Path) -> None:
    folders = [write_scored(tmp_path, name, halves(r, 40)) for name, r in {"base": 10, "sft": 20, "grpo": 30}.items()]
    (folders[2] / "DONE").unlink()
    said = words(headline(make_arms(read_runs(folders))))
    assert said.startswith("sft")
    assert "Not ranked, because not finished or not evaluated: grpo." in said


def test_a_single_arm_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    said = words(headline(scored_arms(tmp_path, grpo=halves(4, 10))))
    assert said.startswith("grpo answers 40.0 % of 10 held-out questions right")
    assert "There is no other finished arm to compare it with." in said


def test_runs_without_an_evaluation_claim_nothing(grpo: Path) -> None:
    lose_all_scores(grpo)
    assert words(headline(make_arms([read_run(grpo)]))) == "No run has been evaluated yet: there is nothing to compare."


# Curves.


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-0.34, 0.34, [-0.2, 0, 0.2]),
        (3, 60, [20, 40, 60]),
        (0, 2.1e-5, [0, 5e-6, 1e-5, 1.5e-5, 2e-5]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected, rel=1e-9)


def test_a_value_that_is_not_a_number_breaks_the_line() -> None:
    svg = charts.line_chart("Loss", "loss", [curve(1.0, 2.0, float("nan"), 2.0, float("inf"))])
    [path] = re.findall(r'class="raw" d="([^"]*)"', svg)
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert "nan" not in svg and "inf" not in svg


def test_a_rare_spike_does_not_flatten_the_curve_and_is_counted() -> None:
    steady = [1.0 + 0.1 * (i % 5) for i in range(200)]
    line = tuple(Point(x, y) for x, y in enumerate([*steady, 500.0]))
    spiky = Curve(0, "grpo", (line,), line[:-1])
    assert charts.outside([spiky]) == 1
    line = tuple(Point(x, y) for x, y in enumerate([*steady, 1.6]))
    assert charts.outside([Curve(0, "grpo", (line,), line[:-1])]) == 0


def test_very_small_numbers_leave_their_power_to_the_axis_label() -> None:
    svg = charts.line_chart("optim/lr", "lr", [curve(0.0, 1e-5, 2e-5)])
    assert "lr × 10⁻⁵" in svg
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["0", "0.5", "1", "1.5", "2"]


def test_a_constant_curve_can_be_drawn() -> None:
    assert "nan" not in charts.line_chart("KL", "kl", [curve(0.0, 0.0)]) + charts.line_chart("x", "x", [curve(3.0)])


def test_a_chart_escapes_the_names_in_it() -> None:
    svg = charts.line_chart("<b>", "a & b", [curve(1.0, 2.0, name='"><script>')])
    assert "<script>" not in svg and "<b>" not in svg and "a &amp; b" in svg


def test_a_whisker_without_an_interval_is_a_hollow_dot() -> None:
    assert 'class="hollow"' in charts.whisker(Estimate(0.5, None, None, 9), 0, (0, 1))
    whole = charts.whisker(Estimate(0.5, 0.25, 1.0, 9), 0, (0, 1), width=112)
    assert 'class="bar" x1="31.0" x2="106.0"' in whole and 'class="dot" cx="56.0"' in whole


def test_the_ninth_arm_has_the_first_colour_dashed() -> None:
    assert (charts.arm_class(0), charts.arm_class(8)) == ("arm0", "arm0 again")


def test_every_metric_has_one_chart_with_one_line_per_arm_that_measured_it(runs: list[Path]) -> None:
    opened, folded = curves.curve_panels(make_arms(read_runs(runs)))
    titles = [panel.title for panel in opened]
    assert titles == ["Score", "Reply length", "Entropy", "KL", "Zero-variance groups", "Gradient norm", "Loss",
                      "loss/kl", "loss/nll", "loss/policy"]  # fmt: skip
    lines = {panel.title: [one.name for one in panel.curves] for panel in (*opened, *folded)}
    assert lines["Score"] == ["grpo", "sft+grpo"]
    assert lines["timing/rollout"] == lines["timing/step"] == ["sft", "grpo", "sft+grpo"]
    assert lines["loss/nll"] == ["sft"]
    assert lines["score/count"] == ["grpo", "sft+grpo"]


def test_the_bold_line_ends_where_the_first_of_the_seeds_does(tmp_path: Path) -> None:
    folders = [write_scored(tmp_path, "grpo", [1.0], seed=seed) for seed in (0, 1)]
    for folder, steps in zip(folders, (30, 50), strict=True):
        write_lines(
            folder / "metrics.jsonl",
            [Step(step=i, metrics={"score/mean": float(steps)}, seconds=1) for i in range(1, steps + 1)],
        )
    [panel], _ = curves.curve_panels(make_arms(read_runs(folders)))
    [line] = panel.curves
    assert [len(raw) for raw in line.raw] == [30, 50]
    assert (line.smooth[-1], line.last) == ((30, 40.0), 40.0)


def test_a_long_run_is_thinned_without_losing_its_extremes(grpo: Path) -> None:
    values = [float(np.sin(i)) for i in range(5000)]
    values[1234], values[4321] = 9.0, -9.0
    write_lines(grpo / "metrics.jsonl", [Step(step=i, metrics={"x": y}, seconds=1) for i, y in enumerate(values)])
    _, [_, panel] = curves.curve_panels(make_arms([read_run(grpo)]))
    [raw] = panel.curves[0].raw
    assert len(raw) <= curves.MOST_POINTS + 1
    assert {Point(1234, 9.0), Point(4321, -9.0)} < set(raw)


# Pictures.


def test_what_a_run_was_evaluated_on_is_printed_as_it_was_written(html: str) -> None:
    assert '"split": "test"' in Page(html).text and '"max_new_tokens": 192' in Page(html).text


def test_a_small_picture_is_enlarged_by_a_whole_factor_and_a_large_one_shrunk(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (1200, 900, 3), dtype=np.uint8)
    names = "a" * 64, "b" * 64
    Image.new("RGB", (112, 84)).save(tmp_path / "images" / f"{names[0]}.png")
    Image.fromarray(noise).save(tmp_path / "images" / f"{names[1]}.png")
    small, large = (shot([tmp_path], name) for name in names)
    assert small is not None and large is not None
    assert (small.width, small.height, small.pixelated) == (336, 252, True)
    assert (large.width, large.height, large.pixelated) == (252, 336, False)
    assert large.uri.startswith("data:image/jpeg") and len(large.uri) < 400_000


# The page.


def test_the_page_is_a_function_of_the_runs(runs: list[Path], html: str, tmp_path: Path) -> None:
    again = write_report(runs, tmp_path / "new" / "folder" / "report.html", "Four arms")
    assert again == tmp_path / "new" / "folder" / "report.html"
    assert again.read_text("utf-8") == html


def allowed(page: Page) -> list[bytes]:
    """The hashes of the scripts that the page's policy lets run."""
    return [base64.b64decode(text) for text in re.findall(r"'sha256-([^']+)'", str(page.all("meta")[1]["content"]))]


def test_the_page_refers_to_nothing_outside_itself(html: str) -> None:
    page = Page(html)
    refers = [
        attrs[name] or "" for _, attrs in page.elements for name in ("src", "href", "srcset", "action") if name in attrs
    ]
    assert refers and all(to.startswith(("data:", "#")) for to in refers)
    assert not re.search(r"https?:|url\(|@import", html)
    assert "default-src 'none'" in str(page.all("meta"))
    assert allowed(page) == [
        hashlib.sha256(text.encode()).digest() for text in re.findall("<script>(.*?)</script>", html, re.S)
    ]


def test_the_table_has_what_each_arm_scored(html: str, runs: list[Path]) -> None:
    text = Page(html).text
    for run in runs:
        evaluation = json.loads((run / "evaluation.json").read_text())
        low, high = evaluation["ci95"]
        assert f"{100 * evaluation['accuracy']:.1f} {100 * low:.1f}–{100 * high:.1f}over questions" in text


def cells(html: str, arm: str) -> list[str]:
    """The texts of that arm's row in the table of arms."""
    table = html[html.index('id="arms-table"') : html.index("</table>", html.index('id="arms-table"'))]
    [row] = [row for row in table.split("<tr>") if f"</svg> {arm}<" in row]
    return [Page(cell).text for cell in row.split("<td")[1:]]


def test_what_was_not_measured_is_a_dash_and_a_measured_zero_is_a_zero(grpo: Path) -> None:
    evaluation = json.loads((grpo / "evaluation.json").read_text())
    absent = {"pass_at": {"1": 0.0}, "sampled_accuracy": None, "reply_tokens": None, "unmeasured": 0}
    (grpo / "evaluation.json").write_text(json.dumps({**evaluation, **absent}))
    (grpo / "metrics.jsonl").unlink()
    row = cells(write_report([grpo], grpo.parent / "report.html", "dashes").read_text("utf-8"), "grpo")
    sampled, pass1, tokens, _, _, unmeasured, steps, seconds = [text.rpartition(">")[2].strip() for text in row[1:]]
    assert (sampled, tokens, seconds) == ("—",) * 3
    assert (pass1, unmeasured, steps) == ("0.0", "0", "— of 60")


def test_the_share_of_replies_in_tags_is_a_column_where_it_was_measured(grpo: Path, tmp_path: Path) -> None:
    before = write_report([grpo], tmp_path / "report.html", "tags").read_text("utf-8")
    evaluation = json.loads((grpo / "evaluation.json").read_text())
    (grpo / "evaluation.json").write_text(json.dumps({**evaluation, "tagged": 0.125}))
    after = write_report([grpo], tmp_path / "report.html", "tags").read_text("utf-8")
    assert "in tags" not in before and ">in tags</th>" in after
    assert len(cells(after, "grpo")) == len(cells(before, "grpo")) + 1 and ">12.5" in cells(after, "grpo")[9]


def test_steps_and_answers_have_columns_by_arm_where_worlds_were_asked(grpo: Path, tmp_path: Path) -> None:
    before = write_report([grpo], tmp_path / "report.html", "steps").read_text("utf-8")
    evaluation = json.loads((grpo / "evaluation.json").read_text())
    steps = {"agrees": 0.625, "disagrees": 0.125, "unread": 0.25}
    (grpo / "evaluation.json").write_text(json.dumps({**evaluation, "steps": steps}))
    after = write_report([grpo], tmp_path / "report.html", "steps").read_text("utf-8")
    assert "Steps and answer" not in before and ">Steps and answer</th>" in after
    shown = [text.rpartition(">")[2].strip() for text in cells(after, "grpo")]
    assert shown[-5:-2] == ["62.5", "12.5", "25.0"] and len(shown) == len(cells(before, "grpo")) + 3


def test_a_hostile_reply_stays_text(grpo: Path) -> None:
    scores = [Score.model_validate_json(line) for line in (grpo / "scores.jsonl").read_text().splitlines()]
    group = Rollout.model_validate_json((grpo / "rollouts.jsonl").read_text().splitlines()[0])
    evil = judged(HOSTILE, 0.0, parsed=HOSTILE, why=HOSTILE, advantage=1.0)
    everywhere = {"question": HOSTILE, "gold": HOSTILE, "family": HOSTILE}
    write_lines(
        grpo / "scores.jsonl",
        [s.model_copy(update={"greedy": evil, "samples": (evil,), **everywhere}) for s in scores],
    )
    write_lines(grpo / "rollouts.jsonl", [group.model_copy(update={"group": (evil,), **everywhere})])
    html = write_report([grpo], grpo.parent / "report.html", f"<i>title</i> {HOSTILE}").read_text("utf-8")
    page = Page(html)
    assert len(page.scripts) == len(allowed(page)) > 0
    assert not [attrs for _, attrs in page.elements if "onerror" in attrs]
    assert all((attrs["src"] or "").startswith("data:") for attrs in page.all("img"))
    assert "<script>alert(1)" not in html and "{{ 7 * 7 }}" in html


def test_the_report_needs_no_torch() -> None:
    code = "import sys, firsthand.report; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"status/failed": 0.2}, "20% of replies broke their verifier (failed)"),
        ({"reward/mean": 0.5, "reward/std": 0.0}, "every reply of the last 10 steps scored 0.5"),
        ({"status/failed": 0.04}, None),
    ],
)
def test_an_alarm_that_rings_when_training_ends_is_on_the_page(
    changed: dict[str, float], said: str | None, tmp_path: Path
) -> None:
    [grpo] = write_runs(tmp_path / "runs", per_family=2, arms={"grpo": ARMS["grpo"]})
    steps = [Step.model_validate_json(line) for line in (grpo / "metrics.jsonl").read_text().splitlines()]
    write_lines(grpo / "metrics.jsonl", [s.model_copy(update={"metrics": {**s.metrics, **changed}}) for s in steps])
    page = write_report([grpo], tmp_path / "report.html", "a").read_text()
    assert ("ALARM" in page) == (said is not None)
    assert said is None or said in page


def test_a_reply_that_a_server_counted_enters_the_mean_length() -> None:
    counted = Judged(
        reply=Reply(text="<answer>7</answer>", token_ids=(), tokens=9), verdict=Verdict(score=1.0, status=Status.OK)
    )
    uncounted = counted.model_copy(update={"reply": Reply(text="<answer>7</answer>", token_ids=())})
    line = {"example_id": "a", "question": "?", "gold": "7", "images": ()}
    assert summarise([Score(**line, greedy=counted), Score(**line, greedy=uncounted)]).reply_tokens == 9


def test_a_line_of_metrics_is_called_a_step_and_not_an_optimizer_step(runs: list[Path], tmp_path: Path) -> None:
    page = write_report(runs, tmp_path / "report.html", "a").read_text()
    assert "training step (one batch)" in page and "optimizer step" not in page


def test_a_run_of_the_first_version_shows_its_score_under_the_name_of_today(grpo: Path) -> None:
    write_lines(grpo / "metrics.jsonl", [Step(step=0, metrics={"reward/mean": 0.5, "reward/count": 0.25}, seconds=1)])
    assert read_run(grpo).steps[0].metrics == {"score/mean": 0.5, "score/count": 0.25}
