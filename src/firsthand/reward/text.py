"""Text reward: 1 when the answer is the gold answer or one of its aliases, after VQA's normalisation.

`anls` is DocVQA's: 1 - the normalised Levenshtein distance to the nearest of them, 0 where that is below 0.5
(arXiv:1907.00490, eq. 1). `contains` also pays a short sentence that holds one of them.
"""

from typing import Literal

from firsthand.answers.spelling import respelt
from firsthand.answers.text import begins_with_yes_or_no, contains_text, normalised_text, similarity, yes_or_no_of
from firsthand.errors import excerpt
from firsthand.records import Status, Text, Verdict
from firsthand.reward.verdicts import compared, failed, unparsed

TextScore = Literal["exact", "anls", "contains"]
_ANLS_THRESHOLD = 0.5
_MOST_WORDS = 40
"""Words by which an answer may be longer than the gold answer and still be one (ours)."""


def judge_text(content: str, truth: Text, score: TextScore = "exact") -> Verdict:
    """Compare with the gold answer and its aliases. A gold answer without any sign gives FAILED, not 0."""
    golds = (truth.value, *truth.aliases)
    if not all(gold.strip() for gold in golds):
        return failed(f"the ground truth {truth.value!r} with {list(truth.aliases)} has an empty text")
    if not content.strip():
        return unparsed(content, "an empty answer")
    words = len(content.split())
    if words > _MOST_WORDS + max(len(gold.split()) for gold in golds):
        return unparsed(content, f"{words} words where a short answer is expected")
    if score == "anls":
        near = max(similarity(content, gold) for gold in golds)
        worth = near if near >= _ANLS_THRESHOLD else 0.0
        return Verdict(
            score=worth, status=Status.OK, parsed=excerpt(content), why=f"ANLS {near:.2f} with {excerpt(truth.value)}"
        )
    return compared(any(_is_same(content, gold, score) for gold in golds), content, truth.value)


def _is_same(content: str, gold: str, score: TextScore) -> bool:
    if (word := yes_or_no_of(gold)) is not None:
        return word in (yes_or_no_of(content), begins_with_yes_or_no(content))
    if normalised_text(content) == normalised_text(gold) or respelt(content) == respelt(gold):
        return True
    return score == "contains" and contains_text(content, gold)
