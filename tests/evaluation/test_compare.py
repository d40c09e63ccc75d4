"""Runs compared: who is who, what is paired, what is left out, and everything that a reader must be told."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from firsthand.cli.main import main
from firsthand.errors import DataError
from firsthand.evaluation import Protocol
from firsthand.evaluation.compare import compare_runs
from firsthand.records import Judged, Reply, Score, Status, Unit, Verdict, content_id
from firsthand.stats import paired_test

Values = Sequence[float | None]
BETTER: Values = [1.0] * 16 + [0.0] * 4
GREEDY = Protocol(samples=0)
WORSE: Values = [1.0] * 4 + [0.0] * 16


def made(
    root: Path,
    model: str,
    values: Values,
    *,
    benchmark: str = "geoqa",
    model_id: str = "",
    protocol: Protocol = GREEDY,
    draws: int = 1,
    first: int = 0,
    **scorers: Values,
) -> Path:
    """A finished run by hand: `values` are the strict marks, draw by draw of question by question."""
    folder = root / f"run-{len(list(root.glob('run-*')))}"
    folder.mkdir(parents=True)
    who = {"name": model, "model_id": model_id or content_id(model)}
    asked = {"benchmark": {"name": benchmark}, "protocol": protocol.content}
    (folder / "recipe.json").write_text(json.dumps({**who, **asked}))
    (folder / "evaluation.json").write_text(json.dumps({"protocol": protocol.content}))
    (folder / "scores.jsonl").write_text("")
    (folder / "DONE").touch()
    for scorer, marks in {"strict": values, **scorers}.items():
        units = [
            Unit(question=f"{benchmark}/{first + i // draws}#{i % draws}", cluster=f"{first + i // draws}", value=v)
            for i, v in enumerate(marks)
        ]
        (folder / f"units-{scorer}.jsonl").write_text("".join(f"{u.model_dump_json()}\n" for u in units))
    return folder


def own_data(
    root: Path, model: str, values: Values, data: str = "mine.jsonl", *, first: int = 0, **settings: Any
) -> Path:
    """A run of `evaluate --data`, which has no units; `settings` may say whom it `evaluates`, or another `reward`."""
    folder = root / f"run-{len(list(root.glob('run-*')))}"
    folder.mkdir(parents=True)
    shown = {"data": {"path": data}, "protocol": GREEDY.content, **settings}
    (folder / "recipe.json").write_text(json.dumps({"name": model, "model_id": content_id(model), **shown}))
    (folder / "evaluation.json").write_text(json.dumps(shown))
    (folder / "DONE").touch()
    scores = []
    for i, value in enumerate(values, start=first):
        verdict = Verdict(score=value, status=Status.TIMED_OUT if value is None else Status.OK)
        judged = Judged(reply=Reply(text="", token_ids=()), verdict=verdict)
        scores.append(Score(example_id=f"e{i}", question="?", gold="1", images=(), greedy=judged, samples=()))
    (folder / "scores.jsonl").write_text("".join(f"{s.model_dump_json()}\n" for s in scores))
    return folder


def test_the_first_model_is_compared_with_and_a_plus_says_that_the_other_is_better(tmp_path: Path) -> None:
    found = compare_runs([made(tmp_path, "base", WORSE), made(tmp_path, "trained", BETTER)])
    assert (found["baseline"], list(found["models"]), found["scorer"]) == ("base", ["base", "trained"], "strict")
    assert found["models"]["trained"]["geoqa"]["value"] == 0.8
    difference = found["differences"]["trained"]["geoqa"]
    expected = paired_test(list(BETTER), list(WORSE), [str(i) for i in range(20)])  # type: ignore[arg-type]
    assert difference["difference"] == pytest.approx(0.6) and difference["finding"] == "better"
    assert (difference["p"], difference["ci95"]) == (expected.p, [expected.difference.low, expected.difference.high])
    assert (difference["wins"], difference["losses"], difference["ties"]) == (12, 0, 8)
    assert found["notes"] == []


def test_two_models_of_one_name_are_told_apart_by_their_content(tmp_path: Path) -> None:
    runs = [made(tmp_path, "model", WORSE, model_id="aaaaaabbbb"), made(tmp_path, "model", BETTER, model_id="cccccc")]
    assert list(compare_runs(runs)["models"]) == ["model (aaaaaa)", "model (cccccc)"]


def test_runs_of_one_model_alone_are_refused_and_a_run_given_twice_counts_once(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", WORSE), made(tmp_path, "base", BETTER, benchmark="superclevr")]
    with pytest.raises(DataError, match=r"expected runs of two arms or more, got 2 of base; give another model's runs"):
        compare_runs(runs)
    other = made(tmp_path, "trained", BETTER)
    twice = compare_runs([runs[0], other, tmp_path / "." / other.name])
    assert twice == compare_runs([runs[0], other])


def test_what_is_no_finished_evaluation_is_told(tmp_path: Path) -> None:
    run = made(tmp_path, "base", WORSE)
    (run / "DONE").unlink()
    with pytest.raises(DataError, match="expected a run that was evaluated, got one that has not ended: give its comm"):
        compare_runs([run])
    with pytest.raises(DataError, match=r"expected a run directory.*, got .*nowhere, which is not there; check the pa"):
        compare_runs([tmp_path / "nowhere"])
    (run / "DONE").touch()
    (run / "scores.jsonl").unlink()
    with pytest.raises(
        DataError, match=r"got one that has no finished evaluation beside it: firsthand evaluate .*run-0 --d"
    ):
        compare_runs([run])


# ---- like with like


def training(root: Path, name: str, seed: int = 0, **recipe: Any) -> str:
    """A finished training, as far as evaluations refer to it; its id."""
    content = {"name": name, "steps": 3, "seed": seed, **recipe}
    identity = content_id(content)
    folder = root / f"{name}-s{seed}-{identity[:8]}"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({**content, "id": identity}))
    (folder / "DONE").touch()
    return identity


def a_study(root: Path) -> None:
    """Two arms of three seeds, evaluated; each seed's weights are others."""
    for seed, (right, better) in enumerate([(20, 60), (24, 64), (22, 68)]):
        for name, hits in (("base", right), ("grpo", better)):
            evaluates = training(root, name, seed)
            run = own_data(root, name, [1.0] * hits + [0.0] * (100 - hits), evaluates=evaluates)
            recipe = json.loads((run / "recipe.json").read_text())
            (run / "recipe.json").write_text(json.dumps({**recipe, "model_id": evaluates}))
            run.rename(root / f"evaluate-{name}-s0-{evaluates[8:]}")


def test_the_seeds_of_a_study_are_one_arm_whether_its_folder_or_its_runs_are_given(tmp_path: Path) -> None:
    a_study(tmp_path / "study")
    found = compare_runs([tmp_path / "study"])
    assert list(found["models"]) == ["base", "grpo"] and found["baseline"] == "base" and found["notes"] == []
    assert found["models"]["grpo"]["mine.jsonl"]["value"] == pytest.approx(0.64)
    assert (found["models"]["grpo"]["mine.jsonl"]["runs"], found["models"]["grpo"]["mine.jsonl"]["n"]) == (3, 100)
    assert found["models"]["grpo"]["mine.jsonl"]["covers"] == "questions and training seeds"
    difference = found["differences"]["grpo"]["mine.jsonl"]
    assert difference["difference"] == pytest.approx(0.42) and difference["finding"] == "better"
    assert difference["covers"] == "questions and training seeds" and "p" not in difference
    assert compare_runs([tmp_path]) == found  # the folder of all studies
    assert compare_runs(sorted((tmp_path / "study").glob("[bg]*-s?-*"))) == found  # the trainings alone
    assert compare_runs(sorted((tmp_path / "study").glob("evaluate-*"))) == found  # the evaluations alone


def test_an_evaluation_of_a_studys_run_is_found_above_its_folder(tmp_path: Path) -> None:
    a_study(tmp_path / "study")
    found = compare_runs([tmp_path / "study"])
    for run in sorted((tmp_path / "study").glob("evaluate-*")):  # `firsthand evaluate RUN` makes them in runs/
        run.rename(tmp_path / run.name)
    assert compare_runs([tmp_path / "study"]) == compare_runs([tmp_path]) == found
    assert compare_runs(sorted(tmp_path.glob("evaluate-*"))) == found


def test_a_run_that_was_never_evaluated_is_left_out_of_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    a_study(tmp_path)
    training(tmp_path, "sft")
    (note,) = compare_runs([tmp_path])["notes"]
    assert re.fullmatch(r"sft-s0-\w+: left out, for it was not evaluated to the end", note)
    with pytest.raises(DataError, match="got one that has no finished evaluation beside it"):
        compare_runs(sorted(tmp_path.glob("[bgs]*-s0-*")))


@pytest.mark.parametrize(
    ("other", "column"),
    [
        ({"data": "theirs.jsonl", "first": 500}, "theirs.jsonl"),
        ({"protocol": Protocol(samples=0, max_new_tokens=9).content}, "mine.jsonl, max_new_tokens 9"),
        ({"reward": {"box": "stepped"}}, "mine.jsonl, reward.box stepped"),
        ({"reward": {"function": "mine:fair"}}, "mine.jsonl, reward.function mine:fair"),
        ({"first": 15}, "mine.jsonl (2)"),  # a quarter of the questions is shared: another file of that name
    ],
    ids=["data", "protocol", "reward", "function", "questions"],
)
def test_other_data_another_protocol_and_another_reward_are_never_one_column(
    tmp_path: Path, other: dict[str, Any], column: str
) -> None:
    runs = [own_data(tmp_path, "base", WORSE), own_data(tmp_path, "trained", BETTER, **other)]
    with pytest.raises(DataError, match="asked the same questions by the same settings, got none beside base") as error:
        compare_runs(runs)
    assert f"trained: {column})" in str(error.value)
    runs.append(own_data(tmp_path, "third", BETTER))
    found = compare_runs(runs)
    assert list(found["differences"]) == ["trained", "third"] and found["differences"]["trained"] == {}
    assert found["notes"] == ["trained: no difference from base, for they share no questions and settings"]
    assert column in found["models"]["trained"] and column not in found["models"]["base"]


def test_one_data_set_by_two_paths_is_one_column(tmp_path: Path) -> None:
    runs = [own_data(tmp_path, "base", WORSE, "mine.jsonl"), own_data(tmp_path, "other", BETTER, "/else/mine.jsonl")]
    assert list(compare_runs(runs)["differences"]["other"]) == ["mine.jsonl"]


def test_samples_beside_greedy_replies_do_not_part_their_accuracies(tmp_path: Path) -> None:
    drawn = [Protocol(samples=0), Protocol(samples=8), Protocol(samples=8, temperature=0.6)]
    runs = [own_data(tmp_path, f"m{i}", BETTER, protocol=p.content) for i, p in enumerate(drawn)]
    assert list(compare_runs(runs[:2])["differences"]["m1"]) == ["mine.jsonl"]
    with pytest.raises(DataError, match=r"m0: mine.jsonl, temperature 1.0; m2: mine.jsonl, temperature 0.6"):
        compare_runs([runs[0], runs[2]])  # pass@k stands beside them


def test_rendered_questions_are_known_by_their_worlds(tmp_path: Path) -> None:
    few = {"worlds": ["count", "chart"], "split": "test"}
    runs = [own_data(tmp_path, name, BETTER) for name in ("base", "other")]
    for run in runs:
        table = json.loads((run / "evaluation.json").read_text())
        (run / "evaluation.json").write_text(json.dumps({**table, "data": few}))
    assert list(compare_runs(runs)["models"]["base"]) == ["worlds count, chart test"]


def test_another_seed_of_greedy_replies_is_no_second_run(tmp_path: Path) -> None:
    base = [own_data(tmp_path, "base", WORSE, protocol=Protocol(seed=seed).content) for seed in (0, 1)]
    found = compare_runs([*base, own_data(tmp_path, "other", BETTER, protocol=Protocol(seed=3).content)])
    assert (found["differences"]["other"]["mine.jsonl"]["compared"], found["models"]["base"]["mine.jsonl"]["n"]) == (
        20,
        20,
    )
    assert found["notes"] == ["run-1: left out, for an earlier run has the same model, questions and settings"]


def test_the_scorer_is_named_for_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {"reward": {"function": "mine:fair"}}
    assert compare_runs([own_data(tmp_path, n, v) for n, v in (("a", WORSE), ("b", BETTER))])["scorer"] == "verifiers"
    runs = [own_data(tmp_path, n, v, **mine) for n, v in (("a", WORSE), ("b", BETTER))]
    assert compare_runs(runs)["scorer"] == "mine:fair"
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("scorer: mine:fair; in percent") and "strict" not in said


def test_few_questions_have_an_interval_and_no_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [own_data(tmp_path, "base", [0.0]), own_data(tmp_path, "small", [1.0])]
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert "100.0 (20.7 to 100.0)" in said and "1 question is too few to say" in said
    assert "better" not in said and "worse" not in said


def test_seeds_of_a_model_count_together_and_questions_stay_the_clusters(tmp_path: Path) -> None:
    seeds = [Protocol(samples=1, greedy=False, seed=seed) for seed in (0, 1)]
    base = [made(tmp_path, "base", WORSE, protocol=p) for p in seeds]
    trained = [made(tmp_path, "trained", BETTER, protocol=p) for p in seeds]
    found = compare_runs([*base, *trained])
    assert found["models"]["base"]["geoqa"]["n"] == 20
    difference = found["differences"]["trained"]["geoqa"]
    assert (difference["compared"], difference["only_baseline"], difference["only_other"]) == (40, 0, 0)
    once = compare_runs([base[0], trained[0]])["differences"]["trained"]["geoqa"]
    assert difference["ci95"][1] - difference["ci95"][0] > 0.9 * (once["ci95"][1] - once["ci95"][0])
    assert found["notes"] == []  # another seed is no other protocol
    one_more = compare_runs([*base, trained[0]])["differences"]["trained"]["geoqa"]
    assert (one_more["compared"], one_more["only_baseline"]) == (20, 20)


def test_what_only_one_has_or_measured_is_left_out_and_counted(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", [1.0, None, 0.0, 0.0]), made(tmp_path, "trained", [1.0, 1.0, 1.0], first=1)]
    difference = compare_runs(runs)["differences"]["trained"]["geoqa"]
    assert (difference["compared"], difference["unmeasured"]) == (2, 1)
    assert (difference["only_baseline"], difference["only_other"]) == (1, 0)


def test_marks_of_other_judges_are_not_compared(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", WORSE, one=WORSE), made(tmp_path, "trained", BETTER, two=BETTER)]
    with pytest.raises(DataError, match=r"base: geoqa, judge one; trained: geoqa, judge two"):
        compare_runs(runs, "leaderboard")


def test_the_leaderboards_marks_are_the_judges(tmp_path: Path) -> None:
    easy: Values = [None] * 20
    runs = [
        made(tmp_path, "base", WORSE, rules=easy, judged=BETTER),
        made(tmp_path, "trained", BETTER, rules=easy, judged=WORSE),
    ]
    found = compare_runs(runs, "leaderboard")
    assert found["differences"]["trained"]["geoqa"]["finding"] == "worse" and found["notes"] == []
    made_by_two = made(tmp_path, "other", BETTER, one=BETTER, two=BETTER)
    with pytest.raises(
        DataError, match=r"expected the marks of one judge, got 2; name one of them with --judge: one, two"
    ):
        compare_runs([runs[0], made_by_two], "leaderboard")
    also_by_two = made(tmp_path, "third", WORSE, one=BETTER, two=WORSE)
    named = compare_runs([made_by_two, also_by_two], "leaderboard", judge="two")
    assert named["differences"]["third"]["geoqa"]["finding"] == "worse"


def test_marks_that_rules_alone_have_given_are_compared_only_if_none_is_missing(tmp_path: Path) -> None:
    all_of_them = [made(tmp_path, "base", WORSE, rules=WORSE), made(tmp_path, "trained", BETTER, rules=BETTER)]
    assert compare_runs(all_of_them, "leaderboard")["differences"]["trained"]["geoqa"]["wins"] == 12
    easy = made(tmp_path, "easy", BETTER, rules=[*BETTER[:-1], None])
    with pytest.raises(DataError, match="got those that rules decide alone, the easy ones; evaluate it with --judge"):
        compare_runs([all_of_them[0], easy], "leaderboard")
    never = made(tmp_path, "never", BETTER)
    with pytest.raises(DataError, match="expected a leaderboard's marks, got none"):
        compare_runs([all_of_them[0], never], "leaderboard")


def test_a_users_own_data_are_compared_by_their_replies(tmp_path: Path) -> None:
    runs = [own_data(tmp_path, "base", [*WORSE, None]), own_data(tmp_path, "trained", [*BETTER, 1.0])]
    found = compare_runs(runs)
    (name,) = found["differences"]["trained"]
    assert name == "mine.jsonl"
    difference = found["differences"]["trained"][name]
    assert (difference["wins"], difference["compared"], difference["unmeasured"]) == (12, 20, 1)


def matrix(root: Path) -> list[Path]:
    """OThink-MR1's question: does training on one task help on the other?"""
    values: dict[tuple[str, str], Values] = {
        ("base", "superclevr"): WORSE,
        ("base", "geoqa"): WORSE,
        ("on counting", "superclevr"): BETTER,
        ("on counting", "geoqa"): [1.0] * 5 + [0.0] * 15,
        ("on geometry", "superclevr"): [0.0] * 20,
        ("on geometry", "geoqa"): BETTER,
    }
    return [made(root, model, marks, benchmark=name) for (model, name), marks in values.items()]


def test_models_and_tasks_are_one_matrix(tmp_path: Path) -> None:
    found = compare_runs(matrix(tmp_path))
    values = {m: {name: part["value"] for name, part in parts.items()} for m, parts in found["models"].items()}
    assert values == {
        "base": {"superclevr": 0.2, "geoqa": 0.2},
        "on counting": {"superclevr": 0.8, "geoqa": 0.25},
        "on geometry": {"superclevr": 0.0, "geoqa": 0.8},
    }
    findings = {m: {name: part["finding"] for name, part in parts.items()} for m, parts in found["differences"].items()}
    assert findings["on counting"]["superclevr"] == findings["on geometry"]["geoqa"] == "better"
    assert findings["on counting"]["geoqa"] != "better" and "base" not in findings


def test_the_terminal_has_every_number_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [*matrix(tmp_path), made(tmp_path, "on geometry", [1.0, None], benchmark="mmlu-pro")]
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "new" / "c.json")]) == 0
    said, content = capsys.readouterr().out, json.loads((tmp_path / "new" / "c.json").read_text())

    def percent(value: float, sign: str = "") -> str:
        return f"{100 * value:{sign}.1f}"

    for parts in content["models"].values():
        for part in parts.values():
            low, high = part["ci95"]
            ends = "" if low is None else f" ({percent(low)} to {percent(high)})"
            assert percent(part["value"]) + ends in said
    for model, parts in content["differences"].items():
        for name, part in parts.items():
            (line,) = [line for line in said.splitlines() if line.startswith(f"{model} - base on {name}: ")]
            if "difference" not in part:
                continue
            low, high = part["ci95"]
            assert f"{percent(part['difference'], '+')} ({percent(low, '+')} to {percent(high, '+')}) points" in line
            assert f"p {part['p']:.2g}" in line and part["method"] in line and part["finding"] in line
            counts = f"{part['wins']} won, {part['losses']} lost, {part['ties']} tied"
            assert counts in line
    assert f"comparison: {tmp_path / 'new' / 'c.json'}" in said


def test_notes_and_what_was_left_out_stand_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs: list[Any] = [
        made(tmp_path, "base", [1.0, None, *WORSE]),
        made(tmp_path, "trained", [*BETTER, 1.0]),
    ]
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert "(left out: 1 not measured by both, 1 of the baseline alone)" in said
    assert "scorer: strict; in percent, with 95 % intervals over questions" in said


def test_seeds_are_paired_by_their_number_and_not_by_their_place(tmp_path: Path) -> None:
    zero, two = (Protocol(samples=1, greedy=False, seed=seed) for seed in (0, 2))
    base = [made(tmp_path, "base", WORSE, protocol=zero), made(tmp_path, "base", BETTER, protocol=two)]
    found = compare_runs([*base, made(tmp_path, "other", BETTER, protocol=two)])["differences"]["other"]["geoqa"]
    assert (found["difference"], found["compared"], found["only_baseline"]) == (0.0, 20, 20)


def test_two_versions_of_a_benchmarks_file_are_not_compared(tmp_path: Path) -> None:
    runs = [made(tmp_path, "base", WORSE), made(tmp_path, "other", BETTER)]
    recipe = json.loads((runs[1] / "recipe.json").read_text())
    (runs[1] / "recipe.json").write_text(json.dumps({**recipe, "data_id": "another"}))
    with pytest.raises(DataError, match=r"base: geoqa; other: geoqa \(2\)"):
        compare_runs(runs)


def test_summaries_that_a_pattern_takes_along_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "geoqa-base-0123.json").write_text("{}")
    runs = [made(tmp_path, "base", WORSE), made(tmp_path, "other", BETTER)]
    assert compare_runs([tmp_path / "geoqa-base-0123.json", *runs])["baseline"] == "base"


# ---- seeing and blind


def both(root: Path, model: str, seeing: Values, blind: Values, how: str = "gray", **who: Any) -> list[Path]:
    shown = Protocol(samples=0, blind=how).content  # type: ignore[arg-type]
    return [own_data(root, model, seeing, **who), own_data(root, model, blind, protocol=shown, **who)]


def test_a_blind_evaluation_is_never_in_one_column_with_a_seeing_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = [0.0] * 20
    runs = [*both(tmp_path, "base", none, none), *both(tmp_path, "trained", BETTER, [1.0] * 4 + [0.0] * 16)]
    found = compare_runs(runs)
    titles = ["mine.jsonl, blind unset", "mine.jsonl, blind gray"]
    assert [list(parts) for parts in found["models"].values()] == [titles, titles]
    assert [found["models"]["trained"][title]["value"] for title in titles] == [0.8, 0.2]
    share = found["surviving"]["trained"][titles[1]]
    assert (share["seeing"], share["finding"]) == (titles[0], "better")
    assert [share[key]["value"] for key in ("gain", "blind_gain")] == [pytest.approx(0.8), pytest.approx(0.2)]
    assert share["survives"]["share"] == pytest.approx(0.25) and share["survives"]["n"] == 20
    assert share["gain"]["ci95"] == found["differences"]["trained"][titles[0]]["ci95"]
    assert main(["compare", *map(str, runs)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"on mine.jsonl, blind gray: of the gain survives without the picture: 25\.0 \(", said)


def test_where_the_gain_is_not_resolved_no_share_of_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [*both(tmp_path, "base", WORSE, WORSE), *both(tmp_path, "other", [1.0] * 5 + [0.0] * 15, BETTER)]
    share = compare_runs(runs)["surviving"]["other"]["mine.jsonl, blind gray"]
    assert "survives" not in share and share["finding"] == "not resolved"
    assert main(["compare", *map(str, runs)]) == 0
    assert "survives without the picture: not resolved, for the gain is not" in capsys.readouterr().out


def test_a_share_is_over_the_questions_that_every_run_measured_seeing_and_blind(tmp_path: Path) -> None:
    half: Values = [None] * 5 + [0.0] * 25
    runs = [
        *both(tmp_path, "base", [0.0] * 30, half),
        *both(tmp_path, "trained", [1.0] * 30, [1.0] * 10 + [0.0] * 20),
    ]
    share = compare_runs(runs)["surviving"]["trained"]["mine.jsonl, blind gray"]
    assert share["survives"]["n"] == 25 and share["survives"]["share"] == pytest.approx(5 / 25)


def test_exchanges_of_several_seeds_are_one_number(tmp_path: Path) -> None:
    """Each seed shows other pictures, so greedy replies differ, and none of them is a repetition."""
    drawn = [Protocol(samples=0, blind="shuffled", seed=seed).content for seed in (0, 1)]
    marks: list[Values] = [[1.0] * 20, [0.0] * 20]
    base = [own_data(tmp_path, "base", [0.0] * 20)]
    base += [own_data(tmp_path, "base", [0.0] * 20, protocol=one) for one in drawn]
    trained = [own_data(tmp_path, "trained", [1.0] * 20)]
    trained += [own_data(tmp_path, "trained", some, protocol=one) for some, one in zip(marks, drawn, strict=True)]
    found = compare_runs([*base, *trained])
    assert found["notes"] == [] and found["models"]["trained"]["mine.jsonl, blind shuffled"]["value"] == 0.5
    assert found["surviving"]["trained"]["mine.jsonl, blind shuffled"]["survives"]["share"] == pytest.approx(0.5)


def test_one_model_seeing_and_blind_is_shown_without_another(tmp_path: Path) -> None:
    found = compare_runs(both(tmp_path, "base", BETTER, WORSE))
    assert list(found["models"]["base"]) == ["mine.jsonl, blind unset", "mine.jsonl, blind gray"]
    assert found["differences"] == {} and found["surviving"] == {}
