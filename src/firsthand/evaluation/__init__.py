"""Evaluation = examples + sampler + scorer: accuracy with intervals, and every reply kept.

protocol.py    how replies are drawn; protocols/ has the published ones
respondent.py  who answers: a model folder in this process, or a server
replies.py     examples -> judged replies, kept as they come
table.py       judged replies -> a table
own.py         any data of a user's, judged by the verifiers of training
benchmark.py   what a benchmark is; benchmarks/ has one YAML file each
files.py       where its rows are; items.py: rows -> examples, every one checked
strict.py      judged by rules alone: no judge, no guess
leaderboard/   judged as VLMEvalKit judges, its oddities included
aggregate.py   marks -> a benchmark's number, over questions
official.py    a benchmark evaluated: both scores; session.py: several of them, and seeds
compare.py     two models on the same items; comparison.py: run directories -> a matrix
export.py      replies as other tools want them; lmms.py: examples as a task for lmms-eval
terminal.py    what a terminal shows
"""

from firsthand.evaluation.custom import evaluate_folder, settings
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import score
from firsthand.evaluation.table import tabulate

__all__ = ["Protocol", "evaluate_folder", "score", "settings", "tabulate"]
