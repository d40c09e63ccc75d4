"""Evaluation = examples + generator + scorer: accuracy with intervals, and every reply kept. Needs no torch to import.

protocol.py    how replies are drawn; protocols/ has the published ones
generator.py   who answers: a server, a file, or a model folder, here or through vLLM (local.py)
replies.py     examples -> judged replies, kept as they come
table.py       judged replies -> a table
guessing.py    families that are answered by one guess
grading.py     replies of a file, judged by the verifiers of training
custom.py      any data of a user's, judged by the verifiers of training
benchmarks/    published benchmarks, by strict rules and as a leaderboard scores them
leaderboard/   judged as VLMEvalKit judges, its quirks included
joined.py      run directories -> what compares with what: trainings, their evaluations, arms, settings
pairing.py     what was measured -> a number with its interval, and the difference of two arms
compare.py     a matrix of arms and sets of questions
perplexity.py  how much demonstrations surprise a model
lmms/          examples as a task for lmms-eval
"""

from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import score_examples
from firsthand.evaluation.table import tabulate

__all__ = ["Protocol", "score_examples", "tabulate"]
