"""From a verdict to a reward: what a recipe adds to the score before the replies of a group are compared.

Verdicts stay as they are: accuracy is what they say, whatever was added here.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from firsthand.answers.stated import Rule
from firsthand.identity import code_id, folder_id
from firsthand.records import Coordinates, GrownRecord, Reply, StopReason, Verdict
from firsthand.reward.box import BoxScore
from firsthand.reward.environment import EnvironmentScore
from firsthand.reward.guards import TOLERANCE
from firsthand.reward.open_ended import OpenEndedScoring
from firsthand.reward.text import TextScore

_FORMAT = re.compile(r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*", re.DOTALL)


class Reward(GrownRecord):
    """How a reply's answer is read, what it is worth, and what counts beside it."""

    _later = frozenset(("answer", "digit_tolerance", "math_tolerance", "coordinates", "text", "environment"))
    answer: Rule = "tags"
    """Where training reads it: in the reply's one answer block, without which the score is 0 (VLAA-Thinking's implicit
    format rule, arXiv:2504.11468), or, `stated`, also in a reply without tags."""
    format: float = Field(default=0.0, ge=0)
    """alpha: added when the whole reply is thinking and answer in their tags (OThink-MR1, arXiv:2503.16081: 1)."""
    overlong: float = Field(default=0.0, ge=0, lt=1)
    """Share of `max_new_tokens` over which a long reply's reward falls by up to 1/2, see `overlong_penalty`."""
    box: BoxScore = "iou"
    """A box earns its raw IoU (VLAA-Thinking), or ScoreRS's steps; several boxes take the mean."""
    coordinates: Coordinates = "auto"
    """What the boxes of replies are measured in; a row's own column `coordinates` comes first."""
    digit_tolerance: float = Field(default=0.0, ge=0, lt=1)
    """Share of the true number by which one may be off (ChartQA, arXiv:2203.10244: 0.05); a row's own comes first."""
    math_tolerance: float = Field(default=TOLERANCE, ge=0, lt=1)
    """The same of expressions, where one of the two is not exact (ours)."""
    text: TextScore = "exact"
    """Short words earn 1 or 0 after VQA's normalisation, DocVQA's ANLS, or 1 where a sentence contains them."""
    environment: EnvironmentScore = "exact"
    """An answer to an environment earns 1 for its scorer's full marks and else 0, or the part that it gives."""
    open: OpenEndedScoring | None = None
    """How open-ended answers are scored; None refuses data that has some."""
    function: str | None = None
    """A function of your own, `module:function`, that scores every reply in place of the verifiers."""
    truncated: Literal["score", "mask"] = "score"
    """A reply that was cut: judged like any other, or left out of its group (DAPO's overlong filtering)."""

    @property
    def unread(self) -> set[str]:
        """The fields of an example that no reward reads."""
        return {*(["scene"] * (self.open is None)), *(["meta"] * (self.function is None))}

    def identity(self) -> dict[str, str]:
        """What a run's id holds beside these words: a function's source, and a reward model's folder."""
        found: dict[str, str] = {}
        if self.function is not None and (source := code_id(self.function)):
            found["function_id"] = source
        if self.open is not None and self.open.scorer == "model":
            found["scorer_id"] = folder_id(Path(str(self.open.model)))
        return found

    def of(self, reply: Reply, verdict: Verdict, max_new_tokens: int) -> float | None:
        """The reward of a reply; None when it was not measured, or is masked."""
        if verdict.score is None or (self.truncated == "mask" and reply.stop is StopReason.LENGTH):
            return None
        reward = verdict.score + self.format * has_format(reply.text)
        if not reply.is_demo:
            reward += overlong_penalty(len(reply.token_ids), self.overlong, max_new_tokens)
        return reward


def has_format(text: str) -> bool:
    """Whether a reply is `<think>...</think><answer>...</answer>` and nothing else (R1-V's rule)."""
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    # Counted first: the pattern alone would accept a second block inside the first.
    return all(text.count(tag) == 1 for tag in tags) and _FORMAT.fullmatch(text) is not None


def overlong_penalty(tokens: int, share: float, max_new_tokens: int) -> float:
    """0 up to (1 - share) of the longest reply, then falling to -1/2 at its end (DAPO, arXiv:2503.14476, eq. 13).

    That is half of what lies between wrong and right, as there: its rewards are -1 and 1, and its penalty is 1 at most.
    """
    interval = share * max_new_tokens
    excess = tokens - (max_new_tokens - interval)
    return 0.0 if excess <= 0 else -excess / interval / 2
