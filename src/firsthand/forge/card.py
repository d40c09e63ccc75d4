"""The card of a forged data set: what it is, where it comes from, and what every step left out."""

from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from firsthand.forge.config import ASKING_STEPS, ForgeConfig, Simulated, WorldsSource
from firsthand.forge.draft import DATA_PARTS


def data_card(config: ForgeConfig, funnel: dict[str, Any]) -> str:
    """README.md of a data set, in the form of the Hugging Face Hub."""
    sources = [(name, *_origin(source)) for name, source in config.named_sources]
    licences = sorted({licence for _, _, licence in sources})
    head = {
        "pretty_name": config.name,
        "license": licences[0].lower() if len(licences) == 1 and licences != ["unknown"] else "other",
        "task_categories": ["visual-question-answering"],
        "configs": [
            {"config_name": part, "data_files": [{"split": "train", "path": f"{part}/*.parquet"}]}
            for part in DATA_PARTS
        ],
    }
    environment = Environment(
        loader=PackageLoader("firsthand", "forge"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("card.md.j2").render(
        config=config,
        head=yaml.safe_dump(head, sort_keys=False).strip(),
        funnel=funnel,
        sources=sources,
        teachers=[(step, _teacher(config, step)) for step in ASKING_STEPS],
    )


def _origin(source: Any) -> tuple[str, str]:
    if isinstance(source, WorldsSource):
        return "firsthand worlds", "Apache-2.0"
    return source.origin or source.path, source.license


def _teacher(config: ForgeConfig, step: str) -> str:
    if step not in config.asking_steps:
        return "rules only"
    teacher = config.teacher(step)
    if isinstance(teacher, Simulated):
        return "the teacher inside firsthand, which knows the scenes"
    return f"`{teacher.model}`"
