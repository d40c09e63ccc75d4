"""The forge: six steps from raw visual questions to training data; each keeps an example, or drops it with a reason.

collect -> caption -> distill -> rewrite -> verify -> split        (VLAA-Thinking, arXiv:2504.11468, section 2)
"""

from firsthand.forge.collect import COLLECT
from firsthand.forge.split import SPLIT
from firsthand.forge.step import Dropped, ForgeStep, Funnel, Kept, Outcome, run_step

STEP_NAMES = ("collect", "caption", "distill", "rewrite", "verify", "split")
STEPS = {step.name: step for step in (COLLECT, SPLIT)}
"""The steps that are built; those in the middle ask a teacher and are not."""

__all__ = ["STEPS", "STEP_NAMES", "Dropped", "ForgeStep", "Funnel", "Kept", "Outcome", "run_step"]
