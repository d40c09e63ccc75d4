"""One request at a time, from any thread: for whoever needs an answer before it can go on."""

from threading import Lock
from typing import Self, final

from firsthand.teacher.budget import Budget
from firsthand.teacher.client import AsyncClient, ClientThread
from firsthand.teacher.endpoint import Endpoint
from firsthand.teacher.log import AnswerLog
from firsthand.teacher.types import Outcome, Request


@final
class SyncClient:
    """A `Teacher` behind a server; what its log holds is not asked again. Use as a context manager."""

    def __init__(self, endpoint: Endpoint, log: AnswerLog, *, step: str, deadline_s: float) -> None:
        """`step` is the name under which the log counts; a request ends after `deadline_s`, all attempts included.

        Raises RecipeError when the endpoint's key is not in the environment.
        """
        self._log, self._lock = log, Lock()
        self._thread = ClientThread(AsyncClient(endpoint, log, Budget(), step, deadline_s))

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.__exit__()

    def answer(self, request: Request) -> Outcome:
        """The outcome of a request, once it is in the log; equal ones that are under way are asked once.

        Raises TimeoutError at the deadline, Outage when the server answers nobody any more, and RecipeError for a
        wrong setting.
        """
        with self._lock:
            # Looked at before the log: what arrives between the two is found in the log.
            pending = self._thread.under_way.get(request.key)
            if pending is None:
                known = self._log.get(request.key)
                if known is not None:
                    return known
                pending = self._thread.ask(request)
        return pending.result()
