"""Functions of a task for lmms-eval: prompts from the data file, scores from firsthand's verifiers."""

import atexit
import json
from functools import cache
from statistics import fmean
from typing import Any

try:
    from pydantic import TypeAdapter

    from firsthand.records import Answer, Status
    from firsthand.reward import Router
except ImportError as missing:
    raise ImportError(
        "this task is scored by firsthand's own verifiers, and firsthand cannot be imported in the Python that runs "
        f"lmms-eval ({missing}); install it there: pip install firsthand"
    ) from missing

NO_REPLY = ("[LMMS_EVAL_REQUEST_FAILED", "[LMMS_EVAL_BUDGET_EXCEEDED")
"""How lmms-eval 0.7 writes, in place of a reply, that the server gave none: nothing was measured then."""


def doc_to_messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """The question as chat messages, its pictures in their places."""
    images = iter(doc_to_visual(doc))
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image", "url": next(images)} if part["type"] == "image" else part
                for part in message["content"]
            ],
        }
        for message in json.loads(doc["messages"])
    ]


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """The pictures, as `PIL.Image.Image` in RGB."""
    return [image.convert("RGB") for image in doc["images"]]


def doc_to_text(doc: dict[str, Any]) -> str:
    """The question alone."""
    return str(doc["question"])


def process_results(doc: dict[str, Any], results: list[str | None]) -> dict[str, float]:
    """The metrics of one item; without `accuracy` when none of its replies could be scored."""
    gold = TypeAdapter(Answer).validate_json(doc["gold"])
    verdicts = [_router().judge(reply or "", gold) for reply in results if not (reply or "").startswith(NO_REPLY)]
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    unread = sum(verdict.status in (Status.UNPARSED, Status.WRONG_FORMAT) for verdict in verdicts)
    return {
        **({"accuracy": fmean(scores)} if scores else {}),
        "unparsed": unread / len(results),
        "unmeasured": 1 - len(scores) / len(results),
    }


@cache
def _router() -> Router:
    """The verifiers with their worker process, which ends with this one; they read as `firsthand evaluate` does."""
    router = Router(answer="stated")
    atexit.register(router.close)
    return router
