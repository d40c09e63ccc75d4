"""The card of a forged data set: what it is, where it comes from, and what every step left out."""

from typing import Any

import yaml

from firsthand.forge.config import ForgeConfig, Simulated, WorldsSource

_STEPS = {
    "collect": "rows that can be read, and of nearly equal ones only the first",
    "caption": "a model that sees writes the picture down",
    "distill": "a text-only reasoner answers from caption, side information and question; it never sees the gold",
    "rewrite": "its thinking speaks of the picture and no longer of a description",
    "verify": "its answer agrees with the right one: by rules, or by a judge where rules cannot decide",
    "split": "what hesitates or is hard goes to `rl`, the rest to `sft`",
}


def data_card(config: ForgeConfig, funnel: dict[str, Any]) -> str:
    """README.md of a data set, in the form of the Hugging Face Hub."""
    sft, rl = (sum(funnel["parts"][part].values()) for part in ("sft", "rl"))
    licences = sorted({_origin(source)[1] for source in config.sources})
    head = {
        "pretty_name": config.name,
        "license": licences[0].lower() if len(licences) == 1 and licences != ["unknown"] else "other",
        "task_categories": ["visual-question-answering"],
        "configs": [
            {"config_name": part, "data_files": [{"split": "train", "path": f"{part}/*.parquet"}]}
            for part in ("sft", "rl")
        ],
    }
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).strip(),
            "---",
            "",
            f"# {config.name}",
            "",
            f"{sft:,} verified demonstrations to imitate (`sft`), and {rl:,} harder questions to explore (`rl`).",
            "Made by `firsthand forge` from the sources below.",
            "",
            "```python",
            "from datasets import load_dataset",
            "",
            'load_dataset("path/to/this/folder", "sft")',
            "```",
            "",
            "Each row has `question`, `images` (bytes), `answer` (JSON with its kind), `traces` (JSON: the",
            "demonstration, thinking in `<think>` and answer in `<answer>`) and `meta` (JSON: `source` with origin,",
            "`forge` with caption, models that were asked, and what rules and judge said of the answer).",
            "`dropped/` has what was left out, and why.",
            "",
            "## Steps",
            "",
            "| step | what it keeps | read | kept | dropped |",
            "|---|---|---|---|---|",
            *(_step(row) for row in funnel["steps"]),
            "",
            "## Sources",
            "",
            f"| source | origin | licence | {' | '.join(row['step'] for row in funnel['steps'])} | sft | rl |",
            f"|---|---|---|{'---|' * (len(funnel['steps']) + 2)}",
            *(_source(source, name, funnel) for source in config.sources for name in _names(source)),
            "",
            "Numbers are rows that a step kept.",
            "",
            "## Teachers",
            "",
            *(f"- {step}: {_teacher(config, step)}" for step in ("caption", "distill", "rewrite", "verify")),
            "",
            "The demonstrations are machine-made. Each ends in the right answer; its steps have not been checked.",
            "",
        ]
    )


def _step(row: dict[str, Any]) -> str:
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in row["dropped"].items()) or "none"
    return f"| {row['step']} | {_STEPS[row['step']]} | {row['read']:,} | {row['kept']:,} | {reasons} |"


def _source(source: Any, name: str, funnel: dict[str, Any]) -> str:
    origin, licence = _origin(source)
    kept = [f"{row['sources'].get(name, {'kept': 0})['kept']:,}" for row in funnel["steps"]]
    parts = [f"{funnel['parts'][part].get(name, 0):,}" for part in ("sft", "rl")]
    return f"| {name} | {origin} | {licence} | {' | '.join([*kept, *parts])} |"


def _names(source: Any) -> tuple[str, ...]:
    return source.worlds if isinstance(source, WorldsSource) else (source.name,)


def _origin(source: Any) -> tuple[str, str]:
    if isinstance(source, WorldsSource):
        return "firsthand worlds", "Apache-2.0"
    return source.origin or source.path, source.license


def _teacher(config: ForgeConfig, step: str) -> str:
    if step == "verify" and not config.verify.judge:
        return "rules only"
    teacher = config.teacher(step)
    if isinstance(teacher, Simulated):
        return "the teacher inside firsthand, which knows the scenes"
    return f"`{teacher.model}`"
