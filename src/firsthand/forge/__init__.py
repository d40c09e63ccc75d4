"""The forge: six steps from raw visual questions to training data; each keeps a row, or drops it with a reason.

collect -> caption -> distill -> rewrite -> verify -> split        (VLAA-Thinking, arXiv:2504.11468, section 2)

    config.py      what a forge is asked to do
    draft.py       what it knows of a row
    step.py        what a step is; one file for each of the six beside it, and its prompt in prompts/
    templates.py   the prompts
    simulated.py   the teacher inside, for dry runs and rendered worlds
    intake.py      rows of all sources -> the first step
    engine.py      where rows are decoded and hashed: here, or by Ray
    shards.py      what a step kept and dropped, on disk
    runner.py      the steps in turn, and their data set; stops and goes on anywhere
    output.py      what they kept -> the data set, its funnel and its card
    exports.py     the data set in the formats of others
"""

from firsthand.forge.config import ForgeConfig
from firsthand.forge.runner import NothingKept, StepProgress, Unanswered, Waiting, read_answers, run_forge
from firsthand.forge.step import STEP_NAMES

__all__ = [
    "STEP_NAMES",
    "ForgeConfig",
    "NothingKept",
    "StepProgress",
    "Unanswered",
    "Waiting",
    "read_answers",
    "run_forge",
]
