"""Any data of a user's, or rendered worlds: greedy accuracy and pass@k, judged by the verifiers of training.

A reply whose score could not be measured is left out and counted; it is never wrong.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firsthand.evaluation.generator import identity, name_of, respondents
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, score_all
from firsthand.evaluation.table import tabulate
from firsthand.processor import model_config
from firsthand.recipe import Data
from firsthand.records import Example, content_id
from firsthand.reward import Reward
from firsthand.reward.build import router_of
from firsthand.run import Run
from firsthand.teacher import Endpoint

DEFAULT = Reward()
"""Verifiers for every kind but free text, which needs a scorer."""


def evaluate_folder(
    model: Path | Endpoint,
    data: Data,
    protocol: Protocol,
    root: Path,
    on_progress: OnProgress = lambda done, all: None,
    *,
    name: str | None = None,
    reward: Reward = DEFAULT,
) -> Path:
    """Evaluate a Hugging Face folder, or a server, on `data` in a run directory of its own; skipped when it is done.

    `reward` says how answers are judged; what it adds for format or length plays no part in an accuracy.
    Raises DataError, before a directory is made, when the model or the data cannot be used.
    """
    examples = data.load()
    name = name or name_of(model)
    if isinstance(model, Path):
        model_config(model)
    with router_of(reward, folder=root) as router:
        router.check(examples)
    recipe = {
        "name": name,
        **identity(model),
        **settings(data, protocol, reward),
        "data_id": content_id(*(e.id for e in examples)),
    }
    with Run.open(root, f"evaluate-{name.replace('/', '-')}", protocol.seed, recipe) as run:
        if not run.is_done:
            if not (run.folder / "evaluation.json").exists():  # written last: a kill came between it and the end
                evaluate(model, examples, data, protocol, run, on_progress, reward)
            run.finish()
        return run.folder


def settings(data: Data, protocol: Protocol, reward: Reward = DEFAULT) -> dict[str, Any]:
    """What decides an evaluation's numbers, as JSON; how answers are judged only where that is not the default."""
    judged = {
        key: value
        for key, value in reward.model_dump(mode="json", include={"box", "open", "function"}).items()
        if value != getattr(DEFAULT, key)
    }
    return {
        "data": data.model_dump(mode="json"),
        "protocol": protocol.content,
        **({"reward": judged} if judged else {}),
    }


def evaluate(
    model: Path | Endpoint,
    examples: Sequence[Example],
    data: Data,
    protocol: Protocol,
    run: Run,
    on_progress: OnProgress = lambda done, all: None,
    reward: Reward = DEFAULT,
) -> dict[str, Any]:
    """Write scores.jsonl and evaluation.json of a model into an open run; the content of evaluation.json.

    What an earlier call was stopped in is gone on with.
    """
    said = settings(data, protocol, reward)
    journal = run.folder / f"replies-{content_id(said)}.jsonl"
    with router_of(reward, folder=run.folder.parent) as router, respondents(model, protocol, run.folder) as respondent:
        router.check(examples)
        scores = score_all(examples, respondent, router.judge_many, protocol, journal, on_progress)
    run.keep_pictures(picture for example in examples for picture in example.images)
    run.write_records("scores.jsonl", scores)
    table = {**said, **tabulate(scores, protocol.samples)}
    run.write_json("evaluation.json", table)
    journal.unlink()
    return table
