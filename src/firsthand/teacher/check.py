"""Whether servers answer, by one small request to each, before anything is read or paid."""

from collections.abc import Iterable

from firsthand.errors import RecipeError
from firsthand.teacher.budget import Outage
from firsthand.teacher.client import SyncClient
from firsthand.teacher.endpoint import Endpoint
from firsthand.teacher.log import open_log
from firsthand.teacher.types import Failure, Message

_TOKENS = 16
"""Of the answer, which nobody reads: the fewest that every server takes."""


def check_endpoints(endpoints: Iterable[Endpoint]) -> None:
    """Ask each distinct endpoint for a word. Raises Outage where none comes, and RecipeError for a wrong setting."""
    distinct = {(e.base_url, e.model, e.key_env): e for e in endpoints}
    for endpoint in distinct.values():
        asked = endpoint.request(Message(role="user", text="Say OK.")).model_copy(update={"max_tokens": _TOKENS})
        with open_log(None) as log, SyncClient(endpoint, log, step="check") as client:
            outcome = client.answer(asked)
        if isinstance(outcome, Failure) and outcome.reason == "unanswered":
            raise Outage(
                f"{endpoint.url} does not answer a first small request: {outcome.detail}. Look at the server, and at "
                f"base_url and model ({endpoint.model})"
            )
        if isinstance(outcome, Failure) and outcome.reason == "rejected":
            raise RecipeError(
                f"{endpoint.url} does not take a first small request: {outcome.detail}; look at model "
                f"({endpoint.model}) and extra"
            )
