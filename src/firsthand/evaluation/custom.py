"""Any data of a user's, or what is drawn: greedy accuracy and pass@k, judged by the verifiers of training.

Replies are read as the protocol says, however the model was trained: a reply without tags, too, unless it says `tags`.
A reply whose score could not be measured is left out and counted; it is never wrong.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firsthand.answers.asking import prompts_id
from firsthand.errors import RecipeError
from firsthand.evaluation.generator import askable, generator_of, identity, name_of, settled, shown_to
from firsthand.evaluation.guessing import guesses
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, score_all
from firsthand.evaluation.table import tabulate
from firsthand.identity import data_id, environments_id
from firsthand.recipe import Data
from firsthand.records import Score
from firsthand.reward import Reward
from firsthand.reward.build import router_of
from firsthand.run import REFUSED, Run
from firsthand.teacher import Endpoint

DEFAULT = Reward()
"""Verifiers for every kind but free text, which needs a scorer."""
_MANY = 10
"""Questions whose samples are looked at together (ours)."""
_OF_TRAINING = {"answer", "format", "overlong", "truncated"}
"""What a reward says of training alone; all else says how answers are judged."""


def evaluate_folder(
    model: Path | Endpoint,
    data: Data,
    protocol: Protocol,
    root: Path,
    on_progress: OnProgress = lambda done, all: None,
    *,
    name: str | None = None,
    reward: Reward = DEFAULT,
    on_table: Callable[[Run], None] = lambda run: None,
) -> Path:
    """Evaluate a Hugging Face folder, or a server, on `data` in a run directory of its own; skipped when it is done.

    The recipe of the directory says which run it `evaluates`, where the model is a run's result.
    `reward` says how answers are judged; what it adds for format or length plays no part in an accuracy. `on_table` is
    called with the run when its table is there, before it is done.
    Raises DataError or RecipeError, before a directory is made, when the model, the data or `reward` cannot be used.
    """
    reward = read_by(protocol, reward)
    protocol = settled(model, protocol)
    loaded = data.read()
    name = name or name_of(model)
    if isinstance(model, Path):
        loaded = askable(model, protocol, loaded)
    with router_of(reward, folder=root) as router:
        loaded = loaded.without(router.bad_ground_truths(loaded.examples))
    examples = loaded.settled(data.on_bad, root)
    decisive = settings(data, protocol, reward)
    recipe = {
        "name": name,
        **identity(model),
        **decisive,
        **prompts_id(protocol.system, examples),
        **environments_id(examples),
        "data_id": data_id(examples, {"traces", *reward.unread}),
    }
    shown = shown_to(model, protocol, examples, data.source)
    title = "-".join(["evaluate", *protocol.control, name.replace("/", "-")])
    folder = model if isinstance(model, Path) else None
    with Run.open_evaluation(root, title, protocol.seed, recipe, folder) as run:
        if run.is_done:
            return run.folder
        loaded.list_refused(run.folder / REFUSED)
        journal = run.folder / "replies.jsonl"
        if not (run.folder / "evaluation.json").exists():  # written last: a kill came between it and the end
            with router_of(reward, folder=root) as router, generator_of(model, protocol, run.folder) as generator:
                scores = score_all(examples, generator, router.judge_many, protocol, journal, on_progress, shown)
            run.keep_pictures(picture for example in shown for picture in example.images)
            run.write_records("scores.jsonl", scores)
            noted: dict[str, Any] = {"refused": len(loaded.found)} if loaded.found else {}
            if isinstance(model, Endpoint) and protocol.temperature > 0 and _are_alike(scores):
                noted["samples_alike"] = True
            if guessed := guesses(scores):
                noted["guesses"] = {family: guess.model_dump(mode="json") for family, guess in guessed.items()}
            run.write_json("evaluation.json", {**decisive, **noted, **tabulate(scores, protocol.samples)})
        journal.unlink(missing_ok=True)
        on_table(run)
        run.finish()
        return run.folder


def _are_alike(scores: Sequence[Score]) -> bool:
    """Whether the samples of every question are one text, which is no accident where there are many questions."""
    drawn = [{judged.reply.text for judged in score.samples} for score in scores if len(score.samples) > 1]
    return len(drawn) >= _MANY and all(len(texts) == 1 for texts in drawn)


def read_by(protocol: Protocol, reward: Reward) -> Reward:
    """The reward, which reads as the protocol does. Raises RecipeError where it says how by itself."""
    if "answer" in reward.model_fields_set and reward.answer != protocol.answer:
        raise RecipeError(
            f"answer={reward.answer}: how an evaluation reads replies is part of its protocol; set "
            f"protocol.answer={reward.answer}"
        )
    return reward.model_copy(update={"answer": protocol.answer})


def settings(data: Data, protocol: Protocol, reward: Reward = DEFAULT) -> dict[str, Any]:
    """What decides an evaluation's numbers, as JSON; how answers are judged only where that is not the default."""
    judged = {
        key: value
        for key, value in reward.model_dump(mode="json", exclude=_OF_TRAINING).items()
        if value != getattr(DEFAULT, key)
    }
    decisive = {"data": data.model_dump(mode="json"), "protocol": protocol.content}
    return {**decisive, "reward": {**judged, **reward.identity()}} if judged else decisive
