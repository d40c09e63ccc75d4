"""What training did to the probability of each token: the same replies under the model before and after.

SRFT (arXiv:2506.19767) colours tokens so, and leaves open whose replies they are. Here they are both: the
greedy ones of the tuned model, and those of the model that its chain of trainings began with.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from firsthand.evaluation.generator import asked
from firsthand.evaluation.local import encoder_of, precision_of
from firsthand.evaluation.protocol import Protocol
from firsthand.evaluation.replies import OnProgress, read_journal
from firsthand.findings import TOKENS_FILE, TokenChange
from firsthand.policy import Policy, PrefixGroup
from firsthand.policy.precision import STATED
from firsthand.processor import Encoder
from firsthand.records import Example, Judged, Score
from firsthand.run import Run, recipe_of
from firsthand.study.plan import Study
from firsthand.study.results import ArmRuns

QUESTIONS = 24
"""Whose replies are looked at (ours): enough for some thousand tokens."""

_Who = str
"""`start` or `tuned`."""
_Logprobs = Mapping[_Who, tuple[float, ...]]
"""Of the tokens of the replies to one question, by who wrote them."""


class Replied(NamedTuple):
    """A question and the greedy replies to it, by who wrote them."""

    example: Example
    score: Score
    replies: Mapping[_Who, Judged]


def measure_tokens(
    study: Study, root: Path, runs: Mapping[str, ArmRuns], seed: int, on_arm: Callable[[str], OnProgress]
) -> dict[str, Path]:
    """A run of its own for each trained arm, `tokens-ARM-s<seed>-<id>/tokens.jsonl`; one that is done is skipped.

    Raises DataError when a model cannot be read.
    """
    untrained = {
        study.recipe_from_scratch(arm, seed).model_folder(): run
        for arm, run in runs.items()
        if not study.is_trained(arm)
    }
    found = {}
    for arm, run in runs.items():
        if study.is_trained(arm):
            start = study.recipe_from_scratch(arm, seed).model_folder()
            found[arm] = _measure(study, root, arm, run, start, untrained.get(start), seed, on_arm)
    return found


def _measure(
    study: Study,
    root: Path,
    arm: str,
    tuned: ArmRuns,
    start: Path,
    untrained: ArmRuns | None,
    seed: int,
    on_arm: Callable[[str], OnProgress],
) -> Path:
    of = {who: recipe_of(run.evaluation).get("id") for who, run in (("tuned", tuned), ("start", untrained)) if run}
    recipe = {
        "name": arm,
        "tokens_of": recipe_of(tuned.training).get("id"),
        "replies_of": of,
        "start_model": start.name,
        "questions": QUESTIONS,
    }
    with Run.open(root, f"tokens-{arm}", seed, recipe) as run:
        if run.is_done:
            return run.folder
        replied = replies_of(study, tuned, untrained)
        bar = on_arm(f"{arm}, token probabilities")
        logprobs: dict[_Who, list[_Logprobs]] = {}
        for who, model in {"start": start, "tuned": tuned.training / "model"}.items():
            logprobs[who] = []
            for one in reply_logprobs(model, replied, study.evaluation.protocol):
                logprobs[who].append(one)
                bar(sum(map(len, logprobs.values())), 2 * len(replied))
        encoder = encoder_of(start, study.evaluation.protocol)
        run.write_records(TOKENS_FILE, list(_changes(replied, logprobs, encoder)))
        run.finish()
        return run.folder


def replies_of(study: Study, tuned: ArmRuns, untrained: ArmRuns | None) -> list[Replied]:
    """Of the first questions of each family, in turn, those that some model has answered greedily."""
    examples = {example.id: example for example in study.evaluation.data.load()}
    by_whom = {
        who: {score.example_id: score for score in read_journal(run.evaluation / "scores.jsonl")}
        for who, run in (("tuned", tuned), ("start", untrained))
        if run is not None
    }
    found: list[Replied] = []
    for example in _in_turn([e for i, e in examples.items() if i in by_whom["tuned"]]):
        scores = {who: scores[example.id] for who, scores in by_whom.items() if example.id in scores}
        written = {who: s.greedy for who, s in scores.items() if s.greedy is not None and s.greedy.reply.token_ids}
        found += [Replied(example, scores["tuned"], written)] if written else []
    return found[:QUESTIONS]


def _in_turn(examples: Sequence[Example]) -> list[Example]:
    """The first of each family, then the second of each, and so on."""
    seen: dict[str, int] = {}
    places = []
    for example in examples:
        seen[example.family] = seen.get(example.family, 0) + 1
        places.append(seen[example.family])
    return [examples[i] for i in sorted(range(len(examples)), key=lambda i: places[i])]


def reply_logprobs(model: Path, replied: Sequence[Replied], protocol: Protocol) -> Iterator[_Logprobs]:
    """Log-probs of the tokens of each question's replies under a model folder, at temperature 1."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = encoder_of(model, protocol)
    policy = Policy.load(model, dtype=STATED[precision_of(model, protocol)], device=device)
    policy.model.eval()
    for one in replied:
        prompt = encoder.prompt(asked(one.example, protocol), protocol.system)
        group = PrefixGroup(prompt, tuple(judged.reply.token_ids for judged in one.replies.values()))
        with torch.inference_mode():
            found = policy.logprobs([group])
        rows = zip(one.replies, found.logp_BT, found.mask_BT, strict=True)
        yield {who: tuple(logp_T[mask_T].double().tolist()) for who, logp_T, mask_T in rows}


def _changes(
    replied: Sequence[Replied], logprobs: Mapping[_Who, Sequence[_Logprobs]], encoder: Encoder
) -> Iterator[TokenChange]:
    for i, one in enumerate(replied):
        for who, judged in one.replies.items():
            yield TokenChange(
                example_id=one.example.id,
                family=one.example.family,
                question=one.score.question,
                gold=one.score.gold,
                images=one.score.images,
                by="start" if who == "start" else "tuned",
                text=judged.reply.text,
                score=judged.verdict.score,
                pieces=pieces(encoder, judged.reply.token_ids),
                start=logprobs["start"][i][who],
                tuned=logprobs["tuned"][i][who],
            )


def pieces(encoder: Encoder, token_ids: Sequence[int]) -> tuple[str, ...]:
    """The text that each token adds; of a character that several tokens make up, the last one adds it."""
    told, found = "", []
    for end in range(1, len(token_ids) + 1):
        text = encoder.text(token_ids[:end])
        if text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(token_ids):
            text = told
        found.append(text[len(told) :])
        told = text
    return tuple(found)
