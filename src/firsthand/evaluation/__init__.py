"""Evaluation = examples + sampler + scorer: accuracy with intervals, and every reply kept.

protocol.py    how replies are drawn; protocols/ has the published ones
respondent.py  who answers: a model folder in this process, or a server
replies.py     examples -> judged replies, kept as they come
table.py       judged replies -> a table
own.py         any data of a user's, judged by the verifiers of training
benchmark.py   what a benchmark is; benchmarks/ has one YAML file each
items.py       a benchmark's files -> examples, every row checked
strict.py      judged by rules alone: no judge, no guess
leaderboard/   judged as VLMEvalKit judges, its oddities included
official.py    a benchmark evaluated: both scores, with intervals
compare.py     two models on the same items
export.py      replies as other tools want them
lmms.py        examples as a task for lmms-eval
"""

from firsthand.evaluation.own import evaluate, evaluate_folder, settings
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import score
from firsthand.evaluation.table import tabulate

__all__ = ["Protocol", "evaluate", "evaluate_folder", "score", "settings", "tabulate"]
