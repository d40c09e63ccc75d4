"""Whether a reply goes round in circles."""

from collections.abc import Sequence

from firsthand.records import Reply

LONGEST_ROUND = 16
"""Tokens of what is repeated, at most."""
ROUNDS = 4
"""It stands there so often, one after the other."""
FEWEST_TOKENS = 16
"""All rounds together have so many tokens at least, so that `1 1 1 1` is a number and no loop."""


def loops(reply: Reply) -> bool:
    """Whether up to 16 tokens stand there four times or more, one after the other, and 16 tokens in all (ours).

    Anywhere in the reply: one that finds its way out after a loop has looped all the same. Where only a text is known,
    its words stand for tokens.
    """
    tokens: Sequence[int | str] = reply.token_ids or reply.text.split()
    return any(
        _longest_run(tokens, period) + period >= max(ROUNDS * period, FEWEST_TOKENS) for period in _periods(tokens)
    )


def _periods(tokens: Sequence[int | str]) -> range:
    return range(1, min(LONGEST_ROUND, len(tokens) // ROUNDS) + 1)


def _longest_run(tokens: Sequence[int | str], period: int) -> int:
    """How many tokens in a row equal the one a period before, at most."""
    longest = run = 0
    for before, token in zip(tokens, tokens[period:], strict=False):
        run = run + 1 if before == token else 0
        longest = max(longest, run)
    return longest
