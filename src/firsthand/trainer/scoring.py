"""Verdicts in the background: replies are judged while others are still being written.

Comparisons run in worker processes of the router, so that sampling does not wait for them.
"""

import threading
import time
from concurrent.futures import Future

from firsthand.records import Example, Status, Verdict
from firsthand.reward import Router

Place = tuple[int, int]
"""A prompt's place in the batch, and a reply's number in its group."""

UNSCORED = Verdict(score=None, status=Status.UNSCORED, why="free text needs a scorer (reward.open)")


class Scoring:
    """The verdicts of one batch. Give it replies as they end, and ask for the verdicts when all are written."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._verdicts: dict[Place, Future[Verdict]] = {}
        self._began = time.perf_counter()
        self._asked: list[float] = []
        self._known: list[float] = []
        self._noted = threading.Semaphore(0)

    def add(self, place: Place, text: str, example: Example) -> None:
        """Have a reply judged; a demonstration of free text stays unscored where the recipe names no scorer for it."""
        if example.answer.kind not in self._router.kinds:
            self._verdicts[place] = Future()
            self._verdicts[place].set_result(UNSCORED)
            return
        self._asked.append(time.perf_counter())
        self._verdicts[place] = self._router.submit(text, example)
        self._verdicts[place].add_done_callback(self._note)

    def verdict(self, place: Place) -> Verdict:
        """The verdict on a reply that was given; waits for it. Raises what the verifier raised."""
        return self._verdicts[place].result()

    def timeline(self) -> dict[str, float]:
        """Seconds after this object was made: the first reply handed over, and the last verdict known. Ask once."""
        for _ in self._asked:
            self._noted.acquire()  # a future tells its result before it calls back
        if not self._asked:
            return {}
        return {"judged_from": self._asked[0] - self._began, "judged_until": max(self._known) - self._began}

    def _note(self, verdict: Future[Verdict]) -> None:
        self._known.append(time.perf_counter())
        self._noted.release()
