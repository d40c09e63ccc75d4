"""The six sets of the Open LMM Reasoning Leaderboard, scored as VLMEvalKit scores them, its oddities included.

    marking.py     what a scorer is: it asks, is answered, and ends with a mark; the list of oddities
    matching.py    which option a reply names, by rules
    mathvista.py, mathvision.py, mathverse.py, dynamath.py, wemath.py, logicvista.py     a scorer each
    equal.py       the comparison of MathVision's free answers, in a worker process
    prompts.py     what a judge is told
    judging.py     many marks at once

Facts are VLMEvalKit's of August 2026; benchmarks/vs_vlmevalkit.py compares both, item by item.
"""

from firsthand.evaluation.leaderboard.judging import NO_JUDGE, Judge, Pair, Scoring, Unmarked, mark_all
from firsthand.evaluation.leaderboard.prompts import VERSION
from firsthand.evaluation.leaderboard.scorer import ODDITIES, Marked, Question

__all__ = ["NO_JUDGE", "ODDITIES", "VERSION", "Judge", "Marked", "Pair", "Question", "Scoring", "Unmarked", "mark_all"]
