"""Our rewards in the form of TRL's reward functions. The other way, TRL's functions in our recipes, is user.py."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from firsthand.answers.ground_truth import BESIDE, typed_answer
from firsthand.errors import BadRow, DataError
from firsthand.records import Answer
from firsthand.reward.router import Router

TrlReward = Callable[..., list[float | None]]
"""f(completions, **columns) -> one reward per completion; None is not applicable (TRL)."""
_BESIDE = set(chain.from_iterable(BESIDE.values()))


def trl_reward(router: Router, kind: str | None = None, *, answer: str = "solution") -> TrlReward:
    """Our rewards as a TRL reward function, for `GRPOTrainer(reward_funcs=[...])`.

    The data set's column `answer` holds the ground truths. A column `kind` names each row's kind unless `kind` does for
    all, a column `choices` the options; `aliases`, `tolerance`, `size` and `coordinates` say more, as in a file.
    Unmeasured replies get None. Keep the router open while TRL trains.
    """

    def firsthand_reward(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        missing = [name for name in (answer, "kind") if name not in columns and not (name == "kind" and kind)]
        if missing:
            raise DataError(f"expected the column {missing[0]!r}, got {sorted(columns)}; add it, or name another")
        kinds = [kind] * len(completions) if kind else columns["kind"]
        options = columns.get("choices") or [()] * len(completions)
        beside = [{name: columns[name][i] for name in _BESIDE & columns.keys()} for i in range(len(completions))]
        truths = [
            _truth(i, columns[answer][i], kinds[i], options[i], beside[i], answer) for i in range(len(completions))
        ]
        replies = [reply_text(completion) for completion in completions]
        return [verdict.score for verdict in router.judge_many(list(zip(replies, truths, strict=True)))]

    return firsthand_reward


def _truth(row: int, value: object, kind: object, options: object, beside: Mapping[str, object], column: str) -> Answer:
    """The ground truth of a row. Raises DataError that names row and column."""
    try:
        return typed_answer(value, kind, options, None, beside)
    except BadRow as bad:
        raise DataError(f"row {row} of the batch, {bad.renamed({'answer': column})}") from bad


def reply_text(completion: Any) -> str:
    """A completion as text: TRL gives strings, or lists of messages for conversational data."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
