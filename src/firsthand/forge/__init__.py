"""The forge: six steps from raw visual questions to training data; each keeps a row, or drops it with a reason.

collect -> caption -> distill -> rewrite -> verify -> split        (VLAA-Thinking, arXiv:2504.11468, section 2)

    config.py     what a forge is asked to do
    step.py       what a step is; one file for each of the six beside it, and its prompt in prompts/
    scenes.py     the teacher inside, for dry runs and rendered worlds
    intake.py     rows of all sources -> the first step
    parts.py      what a step kept and dropped, on disk
    run.py        the steps in turn; stops and goes on anywhere
    output.py     what they kept -> the data set, its funnel and its card
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from firsthand.forge.config import ForgeConfig
from firsthand.forge.output import write_data_set
from firsthand.forge.run import Forge, Report
from firsthand.forge.step import STEP_NAMES


def forge(
    config: ForgeConfig,
    out: Path,
    *,
    rehearsal: bool = False,
    on_report: Callable[[Report], None] = lambda report: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Carry out a forge, or what is left of it, and write its data set to `out`; the funnel, and each step's costs.

    `rehearsal` asks nobody: the teacher inside answers. Raises RecipeError, DataError, BudgetSpent or Outage; nothing
    is lost then, and the same call goes on.
    """
    run = Forge(config, out, rehearsal, on_report)
    found = run.run()
    return write_data_set(config, found, out), run.costs()


__all__ = ["STEP_NAMES", "Forge", "ForgeConfig", "Report", "forge"]
