"""The docs say what the code does: every setting and every command is in them, and what they show is accepted."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import REPOSITORY, blocks, page, section
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from firsthand import study as studies
from firsthand.cli.parser import parser as _parser
from firsthand.config import build
from firsthand.cost import TrainingBudget
from firsthand.data.difficulty import PassRate
from firsthand.evaluation import Protocol
from firsthand.evaluation.benchmarks.spec import Benchmark, Gold, Hub, PromptPart, Suite
from firsthand.forge import ForgeConfig
from firsthand.forge.collect import CollectConfig
from firsthand.forge.config import WorldsSource
from firsthand.forge.rewrite import RewriteConfig
from firsthand.forge.split import SplitConfig
from firsthand.forge.verify import VerifyConfig
from firsthand.objective import CHORD, CISPO, GRPO, LUFFY, OPD, PRESETS, SFT, SRFT
from firsthand.objective.covariance import ClipCov, KLCov
from firsthand.objective.kl import Constant
from firsthand.objective.variants import GMPO, HPT, NSR, SAPO
from firsthand.objective.vision import PAPO, NoisyRollout
from firsthand.policy import Lora
from firsthand.recipe import Data, Optimizer, Probe, Recipe, TeacherPolicy
from firsthand.records import Record, Rollout, Score, Step
from firsthand.reward import Reward
from firsthand.rollout import Sampling
from firsthand.teacher import Endpoint, Served
from firsthand.worlds import WORLDS

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
NAMES = [str(path.relative_to(REPOSITORY)) for path in PAGES]
SETTINGS: dict[str, type[BaseModel]] = {
    "Recipe": Recipe,
    "Data": Data,
    "Objective: SFT": SFT,
    "Objective: GRPO": GRPO,
    "Objective: CISPO": CISPO,
    "Objective: OPD": OPD,
    "Objective: GMPO": GMPO,
    "Objective: SAPO": SAPO,
    "Objective: NSR": NSR,
    "Objective: HPT": HPT,
    "Objective: PAPO": PAPO,
    "Objective: NoisyRollout": NoisyRollout,
    "Objective: ClipCov": ClipCov,
    "Objective: KLCov": KLCov,
    "Objective: LUFFY": LUFFY,
    "Objective: SRFT": SRFT,
    "Objective: CHORD": CHORD,
    "PassRate": PassRate,
    "Reward": Reward,
    "Adapter": Lora,
    "Teacher": TeacherPolicy,
    "Sampling": Sampling,
    "Rollout": Served,
    "Probe": Probe,
    "TrainingBudget": TrainingBudget,
    "Optimizer": Optimizer,
    "Study": studies.Study,
    "StudyQuestion": studies.StudyQuestion,
    "StudyBudget": studies.StudyBudget,
    "StudyPassRate": studies.StudyPassRate,
    "Validation": studies.Validation,
    "Tune": studies.Tune,
    "Test": studies.Test,
    "Protocol": Protocol,
}
"""Section of docs/recipes.md -> the model that it documents."""
FORGE: dict[str, type[BaseModel]] = {
    "The file": ForgeConfig,
    "Worlds": WorldsSource,
    "Collect": CollectConfig,
    "Rewrite": RewriteConfig,
    "Verify": VerifyConfig,
    "Split": SplitConfig,
}
"""Section of docs/forge.md -> the model that it documents."""
EVALUATION: dict[str, type[BaseModel]] = {
    "Benchmark": Benchmark,
    "Gold": Gold,
    "Prompt part": PromptPart,
    "Hub": Hub,
    "Suite": Suite,
}
"""Section of docs/evaluation.md -> the model that it documents."""
SECTIONS = {
    **{heading: ("docs/recipes.md", model) for heading, model in SETTINGS.items()},
    **{heading: ("docs/forge.md", model) for heading, model in FORGE.items()},
    **{heading: ("docs/evaluation.md", model) for heading, model in EVALUATION.items()},
}
COMMANDS = ("docs/recipes.md", "docs/forge.md", "docs/evaluation.md")
"""Where commands are documented."""


def rows(text: str) -> dict[str, list[str]]:
    """The first column of a table, without its code marks -> the cells after it."""
    lines = [line for line in text.splitlines() if re.match(r"\| `[^`]+` \|", line)]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


def default_of(field: FieldInfo) -> Any:
    """A field's default as YAML would read it from the docs; what is built by a factory is told by its differences."""
    if field.is_required():
        return "required"
    if isinstance(field.default, Constant):
        return field.default.beta
    if field.default_factory is not None:
        made = field.get_default(call_default_factory=True)
        if isinstance(made, dict):
            return made
        return {"kind": made.kind} if getattr(made, "kind", None) else made.model_dump(exclude_defaults=True)
    return list(field.default) if isinstance(field.default, tuple) else field.default


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_setting_is_documented_with_its_default(heading: str) -> None:
    name, model = SECTIONS[heading]
    table = rows(section(page(name), heading))
    told = {key: yaml.safe_load(default.strip("`")) for key, (default, *_) in table.items()}
    assert told == {key: default_of(field) for key, field in model.model_fields.items()}


def test_every_method_is_in_the_docs() -> None:
    named = re.findall(r"`([a-z+-]+)`", section(page("docs/recipes.md"), "Objective").split("A name stands")[0])
    assert set(named) - {"kind"} == set(PRESETS)
    assert set(rows(section(page("docs/methods.md"), "All of them"))) == set(PRESETS)


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found.choices)


def test_every_command_and_option_is_documented_with_its_default() -> None:
    text = "\n".join(map(page, COMMANDS))
    for name, parser in commands().items():
        table = rows(section(text, f"firsthand {name}"))
        actions = {(a.option_strings or [a.dest])[-1]: a for a in parser._actions if a.dest != "help"}
        assert set(table) == set(actions), name
        for option, action in actions.items():
            value = " ".join(map(str, action.default)) if isinstance(action.default, list) else action.default
            default = "required" if action.required else str(value or "")
            default = "0" if action.default == 0 and action.default is not False else default
            assert table[option][0].strip("`") == default, f"firsthand {name} {option}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_commands_that_the_docs_show_are_accepted(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("firsthand "):
                _parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_recipes_and_studies_that_the_docs_show_can_be_built(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8"), "yaml"):
        content = yaml.safe_load(block)
        if "arms" in content:
            study = build(studies.Study, content, path.name)
            for arm in study.arms:
                study.recipe(arm, 0, dict.fromkeys(study.arms, Path("run")))
        else:
            kinds = {"sources": ForgeConfig, "base_url": Endpoint, "gold": Benchmark}
            build(next((kinds[key] for key in kinds if key in content), Recipe), content, path.name)


@pytest.mark.parametrize(
    ("file", "kind"), [("metrics.jsonl", Step), ("rollouts.jsonl", Rollout), ("scores.jsonl", Score)]
)
def test_the_lines_that_docs_show_of_a_run_are_records(file: str, kind: type[Record]) -> None:
    (line,) = blocks(section(page("docs/runs.md"), file), "json")
    kind.model_validate_json(line)


def test_every_world_has_its_row() -> None:
    assert set(WORLDS) <= set(rows(page("docs/worlds.md")))


def rooms() -> set[str]:
    """The files and folders of the package, but for those that Python wants."""
    found = (REPOSITORY / "src" / "firsthand").iterdir()
    return {path.name for path in found if path.is_dir() or path.suffix == ".py"} - {
        "__pycache__",
        "__init__.py",
        "__main__.py",
    }


def test_the_tree_in_the_readme_has_every_room() -> None:
    tree = section(page("README.md"), "The package")
    listed = {word.strip("/") for word in re.findall(r"^ {4}\s*([a-z_]+(?:\.py|/))", tree, re.MULTILINE)}
    assert listed == rooms()


def test_the_architecture_names_every_room() -> None:
    text = page("docs/architecture.md")
    named = {room for room in rooms() if f"`{room}`" in text or f"`{room}/`" in text}
    assert rooms() - named == {"recipes"}


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not leads_somewhere(path, target)] == []


def leads_somewhere(path: Path, target: str) -> bool:
    """Whether a relative link's file is there, and its heading in it."""
    place, _, anchor = target.partition("#")
    linked = path.parent / place if place else path
    if not linked.exists() or not anchor:
        return linked.exists()
    headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_no_number_is_still_to_be_measured(path: Path) -> None:
    assert "@@NUM" + "@@" not in path.read_text(encoding="utf-8")


def test_the_tests_that_the_reliability_page_names_are_there() -> None:
    cells = [row.rstrip(" |").rpartition("| ")[2] for row in page("docs/reliability.md").splitlines() if row[:1] == "|"]
    named = [found for cell in cells for found in re.findall(r"`([\w/]+\.py)`([^`]*)", cell)]
    assert len(named) > 40
    for name, words in named:
        tests = re.findall(r"def (test_\w+)", (REPOSITORY / "tests" / name).read_text(encoding="utf-8"))
        lost = [word for word in re.findall(r"\w+", words) if not any(word in test for test in tests)]
        assert not lost, f"{name}: {lost}"
