"""Stop a run when its budget is spent or its server is down."""

from typing import final

from pydantic import Field

from firsthand.errors import FirsthandError, RecipeError
from firsthand.records import Record
from firsthand.teacher.endpoint import Endpoint
from firsthand.teacher.log import Spent
from firsthand.teacher.types import Failure, Outcome

IN_A_ROW = 20
"""Requests given up in a row, without an answer between them, that are an outage (ours)."""


class BudgetSpent(FirsthandError):
    """The budget is used up. What was answered is kept."""


class Outage(FirsthandError):
    """The server no longer answers. What was answered is kept."""


class Budget(Record):
    """What may be spent in all: over every step, and over every run that wrote to the same log."""

    tokens: int | None = Field(default=None, gt=0)
    """Of prompts and answers."""
    dollars: float | None = Field(default=None, gt=0)

    def fits(self, endpoint: Endpoint) -> None:
        """Raises RecipeError when a limit in dollars has no prices to go by."""
        if self.dollars is not None and endpoint.prompt_price is None:
            raise RecipeError(
                f"a budget in dollars needs the prices of {endpoint.model}; "
                "give prompt_price and completion_price, or a budget in tokens"
            )

    def counts(self, outcome: Outcome) -> None:
        """Raises RecipeError when the server does not say what an outcome has cost, and there is a limit."""
        limited = self.tokens is not None or self.dollars is not None
        paid = not isinstance(outcome, Failure) or outcome.reason not in ("unanswered", "rejected", "filtered")
        if limited and paid and (outcome.prompt_tokens is None or outcome.completion_tokens is None):
            raise RecipeError(
                "the budget cannot be kept: the server gives no token counts (`usage`); take the budget out, "
                "or ask a server that counts. What was answered is kept"
            )

    def check(self, spent: Spent) -> None:
        """Raises BudgetSpent when nothing more may be asked."""
        if self.tokens is not None and spent.tokens >= self.tokens:
            what = f"{spent.tokens:,} of {self.tokens:,} tokens"
        elif self.dollars is not None and spent.dollars >= self.dollars:
            what = f"${spent.dollars:.2f} of ${self.dollars:.2f}"
        else:
            return
        raise BudgetSpent(
            f"the budget is spent: {what}, over {spent.requests:,} requests. What was answered is kept, and costs "
            "nothing again: raise the budget and give the same command"
        )


@final
class Breaker:
    """Counts what was given up, so that an outage stops a run instead of turning its rows into failures."""

    def __init__(self) -> None:
        self.proven = False
        """Whether the server has answered anything. Until then, what it rejects may be our settings' fault."""
        self._in_a_row = 0

    def note(self, outcome: Outcome) -> None:
        """Raises Outage when too many requests in a row had no answer."""
        reason = outcome.reason if isinstance(outcome, Failure) else None
        if reason == "unanswered" or (reason == "rejected" and not self.proven):
            self._in_a_row += 1
        elif reason != "rejected":
            self._in_a_row, self.proven = 0, True
        if self._in_a_row >= IN_A_ROW and isinstance(outcome, Failure):
            raise Outage(
                f"{IN_A_ROW} requests in a row had no answer; the last: {outcome.detail}. "
                "What was answered is kept: give the same command again when the server works"
            )
