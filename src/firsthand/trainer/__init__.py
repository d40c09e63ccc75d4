"""One loop for every objective: gather a batch, optimise its terms, journal what happened, checkpoint.

    gather.py   examples of a step -> prompts, replies (sampled or given), verdicts, advantages
    update.py   a gathered batch -> one optimizer step, or several
    journal.py  what a batch says of itself
    state.py    policy, optimizer and step: load, save, resume

A run can be killed at any moment. What it does at step s depends only on the weights and the optimizer's state after
step s - 1 and on (seed, s), so a resumed run repeats the uninterrupted one: bit for bit on a CPU with as many threads.
"""

from firsthand.trainer.loop import open_run, train

__all__ = ["open_run", "train"]
