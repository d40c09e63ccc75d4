"""The six sets of the Open LMM Reasoning Leaderboard, scored as VLMEvalKit scores them, its quirks included.

    scorer.py      what a scorer is: it asks, is answered, and returns a score; the list of quirks
    matching.py    which option a reply names, by rules
    mathvista.py, mathvision.py, mathverse.py, dynamath.py, wemath.py, logicvista.py     a scorer each
    prompts.py     what a judge is told
    judging.py     many replies at once

Facts are VLMEvalKit's of August 2026; benchmarks/vs_vlmevalkit.py compares both, item by item.
"""

from firsthand.evaluation.leaderboard.judging import (
    NO_JUDGE,
    LeaderboardJudge,
    LeaderboardScorer,
    NotScored,
    Pair,
    score_replies,
)
from firsthand.evaluation.leaderboard.prompts import PROMPTS_VERSION
from firsthand.evaluation.leaderboard.scorer import QUIRKS, JudgeQuestion, ReplyScore

__all__ = [
    "NO_JUDGE",
    "PROMPTS_VERSION",
    "QUIRKS",
    "JudgeQuestion",
    "LeaderboardJudge",
    "LeaderboardScorer",
    "NotScored",
    "Pair",
    "ReplyScore",
    "score_replies",
]
