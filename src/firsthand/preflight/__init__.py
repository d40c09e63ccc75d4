"""Whether a recipe fits this machine, and how long a step of it will take, before any weight is read.

workload.py    the recipe's first examples -> lengths of prompts, replies and pictures
blueprint.py   config.json -> the model on the meta device, run there to count what it holds
kernels.py     the counting: bytes held at once, and calls
machine.py     free memory, and rates measured on the spot; those of cards that are not here
estimate.py    counts -> memory of a step's phases
check.py       all of it, the time of a step, and what to change in a recipe that does not fit
"""

from firsthand.preflight.check import PreflightResult, preflight

__all__ = ["PreflightResult", "preflight"]
