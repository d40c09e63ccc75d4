"""The recipes that ship: they can be built, they say what their papers say, and the miniatures run."""

import functools
import inspect
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from firsthand.cli.main import main
from firsthand.cli.parser import parser as _parser
from firsthand.cli.training import RECIPES, recipe_file
from firsthand.config import build, read_recipe, read_yaml
from firsthand.data import load_examples
from firsthand.recipe import Recipe
from firsthand.study import Study, run_study

PAGE = Path(__file__).parents[1] / "docs" / "papers.md"
FILES = sorted(RECIPES.glob("*.yaml"))
OURS = {"demo", "methods", "format-reward", "text"}
"""Comparisons of our own; all other recipes are from papers."""
FROM_PAPERS = [path for path in FILES if path.stem not in OURS]
MINIATURES = [path for path in FROM_PAPERS if path.stem.endswith("-mini")]
SECTIONS = ("Hardware", "Expected", "Left open")

VLAA = "vlaa-thinker-qwen2.5-vl-3b"
VLAA_SFT = "vlaa-sft-qwen2.5-vl-3b"
VLAA_CHAIN = "vlaa-sft-grpo-qwen2-vl-7b"
COUNTING, GEOMETRY = "othink-mr1-counting", "othink-mr1-geometry"
SRFT, LUFFY = "srft-qwen2.5-math-7b", "luffy-qwen2.5-math-7b"
VLAA_MINI, OTHINK_MINI, SRFT_MINI = "vlaa-mini", "othink-mr1-mini", "srft-mini"
PUBLISHED: list[tuple[str, str, str, object]] = [
    # VLAA-Thinking, arXiv:2504.11468: settings of GRPO; schedule LR2 and controller KL2 of table 6.
    (VLAA, "", "objective.group_size", 4),
    (VLAA, "", "sampling.temperature", 0.8),
    (VLAA, "", "steps", 49),
    (VLAA, "", "prompts", 512),
    (VLAA, "", "minibatches", 512 * 4 // 256),
    (VLAA, "", "optimizer.warmup", 0.03),
    (VLAA, "", "optimizer.floor", 5e-7 / 1e-6),
    (VLAA, "", "optimizer.betas", (0.9, 0.95)),
    (VLAA, "", "optimizer.weight_decay", 0.0),
    (VLAA_CHAIN, "inst", "optimizer.betas", (0.9, 0.95)),
    (VLAA, "", "objective.kl.init", 1e-3),
    (VLAA, "", "objective.kl.target", 5e-4),
    # Its settings of SFT.
    (VLAA_SFT, "sft-25k", "prompts", 128),
    (VLAA_SFT, "sft-25k", "steps", 190),
    (VLAA_SFT, "sft-126k", "steps", 985),
    (VLAA_SFT, "sft-25k", "trainable", "language"),
    (VLAA_CHAIN, "inst-sft", "prompts", 128),
    (VLAA_CHAIN, "inst-sft", "steps", 190),
    (VLAA_CHAIN, "inst-sft+grpo", "objective.group_size", 4),
    (VLAA_CHAIN, "zero-sft+grpo", "steps", 49),
    # OThink-MR1, arXiv:2503.16081: the two ranges of GRPO-D, w/t, the tuned constants, alpha; few-shot counting.
    (COUNTING, "grpo-d", "objective.kl.low", 0.04),
    (COUNTING, "grpo-d", "objective.kl.high", 0.10),
    (COUNTING, "grpo-d", "objective.kl.explore", 0.3),
    (COUNTING, "grpo", "objective.kl.beta", 0.04),
    (COUNTING, "grpo", "reward.format", 1.0),
    (COUNTING, "grpo-d", "reward.format", 1.0),
    (COUNTING, "grpo-d", "data.number", 100),
    (GEOMETRY, "grpo-d", "objective.kl.low", 0.0),
    (GEOMETRY, "grpo-d", "objective.kl.high", 0.02),
    (GEOMETRY, "grpo-d", "objective.kl.explore", 0.3),
    (GEOMETRY, "grpo", "objective.kl.beta", 0.01),
    (GEOMETRY, "grpo", "reward.format", 1.0),
    # R1-V, whose settings OThink-MR1 takes: GRPO on 8 GPUs x 1 prompt x 2 accumulated, 2 epochs of 8K; SFT.
    (GEOMETRY, "grpo-d", "objective.group_size", 8),
    (GEOMETRY, "grpo-d", "sampling.temperature", 1.0),
    (GEOMETRY, "grpo-d", "minibatches", 1),
    (GEOMETRY, "grpo-d", "prompts", 8 * 2),
    (GEOMETRY, "grpo-d", "steps", 2 * 8000 // 16),
    (GEOMETRY, "sft", "optimizer.lr", 2e-5),
    (GEOMETRY, "sft", "optimizer.warmup", 0.1),
    (GEOMETRY, "sft", "steps", 8000 // 16),
    # SRFT, arXiv:2506.19767: section 5.1, eq. 9 and 12; SFT_KL's lambda.
    (SRFT, "srft", "objective.group_size", 8),
    (SRFT, "srft", "objective.sft_scale", 0.5),
    (SRFT, "srft", "objective.rl_scale", 0.1),
    (SRFT, "srft", "objective.scale", "std"),
    (SRFT, "srft", "objective.kl.beta", 0.0),
    (SRFT, "srft", "steps", 500),
    (SRFT, "srft", "optimizer.lr", 1e-6),
    (SRFT, "srft", "optimizer.floor", 1.0),
    (SRFT, "srft", "sampling.max_new_tokens", 8192),
    (SRFT, "rl", "objective.group_size", 8),
    (SRFT, "rl", "steps", 500),
    (SRFT, "sft", "prompts", 128),
    (SRFT, "sft", "optimizer.lr", 5e-6),
    (SRFT, "sft", "optimizer.warmup", 0.1),
    (SRFT, "sft", "steps", 3 * 46_000 // 128),
    (SRFT, "rl+sft-kl", "objective.kl.beta", 0.2),
    # LUFFY, arXiv:2504.14945: settings of its paper; SFT and the window's length of its scripts.
    (LUFFY, "luffy", "objective.group_size", 7),
    (LUFFY, "luffy", "objective.scale", "none"),
    (LUFFY, "luffy", "objective.gamma", 0.1),
    (LUFFY, "luffy", "objective.entropy_bonus", 0.001 * 8192 / 16384),
    (LUFFY, "luffy", "optimizer.weight_decay", 0.01),
    (LUFFY, "sft", "optimizer.weight_decay", 0.0),
    (LUFFY, "sft", "optimizer.betas", (0.9, 0.95)),
    (LUFFY, "luffy", "objective.kl.beta", 0.0),
    (LUFFY, "luffy", "prompts", 128),
    (LUFFY, "luffy", "minibatches", 128 // 64),
    (LUFFY, "luffy", "steps", 500),
    (LUFFY, "luffy", "optimizer.lr", 1e-6),
    (LUFFY, "luffy", "optimizer.floor", 1.0),
    (LUFFY, "luffy", "sampling.temperature", 1.0),
    (LUFFY, "luffy", "sampling.max_new_tokens", 8192),
    (LUFFY, "rl", "objective.group_size", 8),
    (LUFFY, "rl", "objective.scale", "none"),
    (LUFFY, "sft", "prompts", 64),
    (LUFFY, "sft", "optimizer.lr", 5e-5),
    (LUFFY, "sft", "optimizer.warmup", 0.1),
    (LUFFY, "sft", "steps", 3 * 46_000 // 64),
    # The miniatures keep what does not depend on size.
    (VLAA_MINI, "grpo", "objective.group_size", 4),
    (VLAA_MINI, "grpo", "sampling.temperature", 0.8),
    (VLAA_MINI, "grpo", "objective.kl.init", 1e-3),
    (VLAA_MINI, "grpo", "objective.kl.target", 5e-4),
    (VLAA_MINI, "sft+grpo", "optimizer.warmup", 0.03),
    (VLAA_MINI, "sft+grpo", "optimizer.floor", 0.5),
    (OTHINK_MINI, "counting-grpo-d", "objective.kl.low", 0.04),
    (OTHINK_MINI, "counting-grpo-d", "objective.kl.high", 0.10),
    (OTHINK_MINI, "counting-grpo", "objective.kl.beta", 0.04),
    (OTHINK_MINI, "geometry-grpo-d", "objective.kl.low", 0.0),
    (OTHINK_MINI, "geometry-grpo-d", "objective.kl.high", 0.02),
    (OTHINK_MINI, "geometry-grpo", "objective.kl.beta", 0.01),
    (OTHINK_MINI, "geometry-grpo", "reward.format", 1.0),
    (SRFT_MINI, "srft", "objective.sft_scale", 0.5),
    (SRFT_MINI, "srft", "objective.rl_scale", 0.1),
    (SRFT_MINI, "luffy", "objective.group_size", 7),
    (SRFT_MINI, "luffy", "objective.gamma", 0.1),
]
"""Recipe, arm ("" where there are none), setting, the value that its paper gives."""


def header(path: Path) -> list[str]:
    """The comment lines at the top of a recipe, without their marks."""
    text = path.read_text(encoding="utf-8")
    found = re.match(r"(?:#.*\n)+", text)
    assert found, f"{path.name} begins without a comment"
    return [line[2:].rstrip() for line in found.group().splitlines()]


def commands(path: Path) -> list[list[str]]:
    """What a recipe's header tells a user to type to `firsthand`: the words after it."""
    text = re.sub(r" *\\\n *", " ", "\n".join(header(path)))
    return [shlex.split(line)[1:] for line in re.findall(r"^ +(firsthand .*?)(?: {4,}.*)?$", text, re.MULTILINE)]


@functools.cache
def recipes(path: Path, assignments: tuple[str, ...] = ()) -> dict[str, Recipe]:
    """Arm -> recipe of a file; the name "" where it is a single recipe."""
    content = read_recipe(path, assignments)
    if "arms" not in content:
        return {"": build(Recipe, content, path.name)}
    study = build(Study, content, path.name)
    return {arm: study.recipe(arm, 0, {name: Path(name) for name in study.arms}) for arm in study.arms}


def setting(recipe: Recipe, key: str) -> object:
    value: Any = recipe.model_dump()
    for part in key.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recipe_that_ships_can_be_built(path: Path) -> None:
    assert recipes(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_recipe_says_in_one_line_what_it_is_and_how_to_run_it(path: Path) -> None:
    first, second, *_ = header(path)
    assert len(first) > 20 and second == ""
    for words in commands(path):
        _parser().parse_args(words)
        assert words[0] == "demo" or words[:2] == ["study" if "arms" in read_yaml(path) else "train", path.stem]
    assert commands(path)


@pytest.mark.parametrize("path", FROM_PAPERS, ids=lambda path: path.stem)
def test_a_recipe_from_a_paper_names_it_and_says_what_is_needed_expected_and_open(path: Path) -> None:
    text = "\n".join(header(path))
    assert re.search(r"arXiv:\d{4}\.\d{5}", text)
    assert [section for section in SECTIONS if not re.search(rf"^{section}[^:]*:", text, re.MULTILINE)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recipes_fit_a_screen_s_width(path: Path) -> None:
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


@pytest.mark.parametrize(("name", "arm", "key", "value"), PUBLISHED, ids=lambda value: str(value))
def test_a_recipe_has_its_paper_s_value(name: str, arm: str, key: str, value: object) -> None:
    assert setting(recipes(RECIPES / f"{name}.yaml")[arm], key) == value


def test_the_five_vlaa_thinkers_differ_in_the_model_alone() -> None:
    found = [recipes(path)[""] for path in FILES if path.stem.startswith("vlaa-thinker-")]
    assert len({recipe.model for recipe in found}) == 5
    alike = [recipe.model_copy(update={"name": "", "model": ""}) for recipe in found]
    assert all(recipe == alike[0] for recipe in alike)


def test_counting_on_the_larger_model_takes_120_examples_twice() -> None:
    (words,) = [words for words in commands(RECIPES / f"{COUNTING}.yaml") if len(words) > 2]
    for arm, recipe in recipes(RECIPES / f"{COUNTING}.yaml", tuple(words[3::2])).items():
        assert recipe.data.number == 120 and recipe.model.endswith("Qwen2-VL-7B-Instruct")
        passes = {"base": 0, "sft": 1}.get(arm, 2)
        assert recipe.steps == -(-passes * 120 // recipe.prompts)


def test_what_a_model_is_told_in_training_it_is_told_in_the_test() -> None:
    for path in FROM_PAPERS:
        content = read_yaml(path)
        if "arms" in content:
            assert content["evaluation"]["protocol"].get("system") == content["shared"].get("system"), path.name


def test_a_shipped_recipe_is_found_by_name_unless_a_file_here_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_file("vlaa-mini") == RECIPES / "vlaa-mini.yaml"
    assert recipe_file("vlaa-mini.yaml") == Path("vlaa-mini.yaml")
    assert recipe_file("no-such-recipe") == Path("no-such-recipe")
    Path("vlaa-mini").write_text("name: mine\n")
    assert recipe_file("vlaa-mini") == Path("vlaa-mini")


def test_the_recipes_that_ship_are_listed_with_their_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert listed == [[path.stem, header(path)[0]] for path in FILES]


def test_the_page_of_papers_has_every_recipe_and_no_other() -> None:
    cells = re.findall(r"^\|[^|]*\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(cells) == sorted(path.stem for path in FROM_PAPERS)


def on_the_page(path: Path) -> list[str]:
    """The cells of a recipe's row in docs/papers.md."""
    (row,) = re.findall(rf"^\|[^|]*\| `{re.escape(path.stem)}` \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [cell.strip() for cell in row.strip("|").split("|")]


def results(text: str) -> list[tuple[str, ...]]:
    """Every arm with the accuracies behind its name: `grpo 1.00 / 0.74` and `` `grpo` 1.00 / 0.74 (0.60 to 0.84)``."""
    return re.findall(r"\b(base|(?:sft|rl|grpo)[\w+-]*|srft|luffy)\b`?\s+(\d\.\d\d)(?: / (\d\.\d\d))?", text)


@pytest.mark.parametrize("path", MINIATURES, ids=lambda path: path.stem)
def test_a_miniature_s_header_has_the_results_of_the_page(path: Path) -> None:
    told = results(" ".join(header(path)).split("Measured")[1])
    assert told == results(on_the_page(path)[-1]) and len(told) >= 4


@pytest.mark.parametrize("path", [p for p in FROM_PAPERS if p not in MINIATURES], ids=lambda path: path.stem)
def test_a_header_has_the_published_numbers_of_the_page(path: Path) -> None:
    """To as many digits as the page has."""
    told = re.findall(r"\d+\.\d+", " ".join(header(path)))
    for number in re.findall(r"\d+\.\d+", on_the_page(path)[-2]):
        digits = len(number.split(".")[1])
        assert number in {f"{float(one):.{digits}f}" for one in told}, number


@pytest.mark.slow
@pytest.mark.parametrize("path", MINIATURES, ids=lambda path: path.stem)
def test_a_miniature_trains_and_evaluates_every_arm(path: Path, tmp_path: Path) -> None:
    small = ["shared.steps=2", "shared.prompts=4", "shared.data.number=8", "shared.sampling.max_new_tokens=24"]
    study = Study.read(path, [*small, "evaluation.data.number=4", "evaluation.protocol.max_new_tokens=24"])
    runs = run_study(study, tmp_path)
    folders = {arm: run.training for arm, run in runs.items()}
    for arm, run in runs.items():
        folder = run.training
        assert (folder / "DONE").exists() and (run.evaluation / "evaluation.json").exists()
        steps = (folder / "metrics.jsonl").read_text().count("\n") if (folder / "metrics.jsonl").exists() else 0
        assert steps == study.recipe(arm, 0, folders).steps


def png(path: Path, shade: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (56, 56), (shade, 0, 0)).save(held, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(held.getvalue())
    return held.getvalue()


def lines(path: str, *rows: dict[str, Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("\n".join(map(json.dumps, rows)) + "\n")


def published_vlaa() -> None:
    """Rows as UCSC-VLAA/VLAA-Thinking has them: JSON Lines under a name that ends in .json."""
    folder = "data/VLAA-Thinking"
    formula, unreadable = r"\[\boxed{y=|x+9|}\]", "no formula at all, and unreadable {"
    golds: tuple[str | int, ...] = (3, "(b)", formula, unreadable, "a red cat")
    rows = []
    for number in range(1000):
        kind, gold = ("digit", "mcq", "math", "math", "open")[number % 5], golds[number % 5]
        image = f"clevr_math/{number % 5}.png"
        rows.append({"id": f"r{number}", "image": image, "question": "How many?", "gt": gold, "verifier_type": kind})
    lines(f"{folder}/VLAA-Thinking-GRPO-25K.json", *rows)
    reply = "<think>\nIt is red.\n</think>\n\n<answer> Red. </answer>"
    sft = {"image": "/clevr_math/0.png", "question": "Which colour?", "answer": reply}
    lines(f"{folder}/VLAA-Thinking-SFT-126K.json", sft, sft)
    for shade in range(5):
        png(Path(f"{folder}/images/clevr_math/{shade}.png"), shade)


def published_r1v() -> None:
    """Tables as R1-V has them, one with reasoning and one without, and its two prompt files."""
    for folder, extra, gold in (
        ("Clevr_CoGenT_TrainA_R1", {"thinking": ["<think>one, two</think>"] * 2}, "2"),
        ("GEOQA_R1V_Train_8K", {}, "145°"),
    ):
        pictures = [{"bytes": png(Path("data/x.png"), shade), "path": "x.png"} for shade in (10, 20)]
        table = {"image": pictures, "problem": ["How many?"] * 2, "solution": [f"<answer> {gold} </answer>"] * 2}
        Path(f"data/{folder}/data").mkdir(parents=True)
        pq.write_table(pa.table({**table, **extra}), f"data/{folder}/data/train-00000.parquet")
    tests: dict[str, str | int] = {"superclevr_test200_counting_problems": 4, "geoqa_test_prompts": "145°"}
    for name, truth in tests.items():
        row = {"image_path": "./images/a.png", "question": "How many?", "ground_truth": truth}
        lines(f"data/R1-V/{name}.jsonl", row)
    png(Path("data/R1-V/images/a.png"), 30)


def published_openr1() -> None:
    """A table as Elliott/Openr1-Math-46k-8192 has it."""
    row = {
        "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "What is 1/2 + 2?"}],
        "target": [{"role": "assistant", "content": "<think>\nHalves.\n</think>\n\nIt is \\boxed{\\frac{5}{2}}."}],
        "reward_model": {"ground_truth": "\\frac{5}{2}", "style": "rule"},
    }
    Path("data/Openr1-Math-46k-8192/data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row]), "data/Openr1-Math-46k-8192/data/train-00000.parquet")


def test_the_lines_on_the_page_turn_published_rows_into_what_the_recipes_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published_vlaa()
    published_r1v()
    published_openr1()
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(inspect.cleandoc(block), names)

    rl = load_examples("data/vlaa-thinking-rl.jsonl")
    heldout = load_examples("data/vlaa-thinking-heldout.jsonl")
    assert {e.answer.kind for e in rl} <= {"digit", "choice", "math"} and (len(heldout), len(rl)) == (500, 100)
    assert not {e.id for e in rl} & {e.id for e in heldout}
    (sft, _) = load_examples("data/vlaa-thinking-sft.jsonl")
    assert sft.answer.text == "Red." and sft.traces[0].text.endswith("<answer> Red. </answer>")

    counting = load_examples("data/clevr-counting.parquet", kind="digit")
    assert [e.traces[0].text for e in counting] == ["<think>one, two</think><answer> 2 </answer>"] * 2
    geometry = load_examples("data/geoqa-r1v.parquet", kind="math")
    assert [(e.answer.text, e.traces[0].text) for e in geometry] == [("145°", "<answer> 145° </answer>")] * 2
    assert load_examples("data/superclevr-200.jsonl", kind="digit")[0].answer.text == "4"
    assert load_examples("data/geoqa-test.jsonl", kind="math")[0].images

    (math,) = load_examples("data/openr1-math-46k.jsonl", kind="math")
    assert math.answer.text == "\\frac{5}{2}"
    assert re.fullmatch(r"<think>.*</think>.*<answer>\\frac\{5\}\{2\}</answer>", math.traces[0].text, re.DOTALL)
