"""One loop for every objective: sample -> score -> select -> update -> journal, and a checkpoint now and then.

    loop.py     the loop
    sample.py   examples of a step -> prompts and replies, sampled or given
    ahead.py    what a server writes for later steps while one is trained
    followed.py   a server that is given the weights before every step
    score.py    replies -> verdicts, rewards, advantages: a batch of groups
    select.py   the groups that are trained on
    columns.py  what the methods see of the replies
    teaching.py   what a teacher thinks of the replies
    update.py   a batch -> one optimizer step, or several
    optimizer.py  gradients -> new weights, in every precision
    pace.py     how far the training is
    journal.py  what a run directory tells of each step
    batch.py    the records of a step
    metrics.py  what a step measures
    check.py    what is asked of the examples before the first step
    state.py    policy, optimizer and step: load, save, resume
    ranks.py    the processes that train together, or one alone
    together.py   what they tell each other of a step
    parts.py    an optimizer's state that they hold in parts

A run can be killed at any moment. What it does at step s depends only on the weights and the optimizer's state after
step s - 1 and on (seed, s), so a resumed run repeats the uninterrupted one: bit for bit on a CPU with as many threads,
and surely so with one (docs/runs.md). Replies of a server are what it makes of the same seeds, and may be stale where
the recipe says so (docs/scale.md).
"""

from firsthand.trainer.loop import open_run, train

__all__ = ["open_run", "train"]
