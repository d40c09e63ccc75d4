"""A study: arms x seeds -> run directories -> one table.

A study is a YAML file: what all arms share, and what each changes. An arm may start from another one.

    shared: {data: {...}, steps: 60}
    arms:
      base: {steps: 0}
      sft: {objective: {kind: sft, style: expert}}
      grpo: {objective: {kind: grpo}}
      sft+grpo: {start: sft, objective: {kind: grpo}}
    evaluation: {data: {...}, protocol: {...}}
    validation: {data: {...}}
    tune: {grid: {optimizer.lr: [3.0e-5, 1.0e-4, 3.0e-4, 1.0e-3]}}
    questions:
      sft-first: {ask: "Does SFT before RL help?", arm: sft+grpo, against: grpo}

    plan.py      what the file says
    tuning.py    each arm's settings, chosen on validation data
    rates.py     how often an untrained model solves what arms are filtered by
    costs.py     what arms have cost, by every measure
    running.py   arms and seeds, one after the other
    results.py   the runs of an arm, and the table made of them
    verdicts.py  the questions, answered
    tokens.py    what training did to the probability of each token
"""

from firsthand.study.plan import Study, StudyBudget, StudyPassRate, StudyQuestion, Test, Tune, Validation
from firsthand.study.results import ArmRuns
from firsthand.study.running import run_seeds, run_study
from firsthand.study.tuning import Try, tune

__all__ = [
    "ArmRuns",
    "Study",
    "StudyBudget",
    "StudyPassRate",
    "StudyQuestion",
    "Test",
    "Try",
    "Tune",
    "Validation",
    "run_seeds",
    "run_study",
    "tune",
]
