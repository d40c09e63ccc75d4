"""Run directories as a training would leave them, made in a second: for tests of everything that reads runs.

Deterministic for a seed. Nothing is trained: accuracies, curves and replies are drawn around what `ARMS` says, but
every line is a record and every picture is really there.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from firsthand.answers.letters import LETTERS
from firsthand.findings import TokenChange
from firsthand.records import (
    Box,
    Choice,
    Digit,
    Example,
    Judged,
    Reply,
    Rollout,
    Score,
    Status,
    Step,
    StopReason,
    Verdict,
    content_id,
)
from firsthand.worlds import generate


@dataclass(frozen=True)
class FakeArm:
    """How one arm behaves: chance of a right greedy reply per family, and what its curves do."""

    skill: dict[str, float]
    steps: int = 0
    objective: str = "none"
    starts_from: str | None = None
    thinks: bool = False


ARMS = {
    "base": FakeArm({"count": 0.42, "chart": 0.38, "locate": 0.30, "geometry": 0.33, "digits": 0.45}),
    "sft": FakeArm(
        {"count": 0.50, "chart": 0.36, "locate": 0.34, "geometry": 0.30, "digits": 0.41}, 60, "sft", thinks=True
    ),
    "grpo": FakeArm({"count": 0.78, "chart": 0.66, "locate": 0.46, "geometry": 0.41, "digits": 0.70}, 60, "grpo"),
    "sft+grpo": FakeArm(
        {"count": 0.72, "chart": 0.64, "locate": 0.44, "geometry": 0.47, "digits": 0.63}, 60, "grpo", "sft", True
    ),
}


def write_runs(
    root: Path, *, per_family: int = 30, seeds: Sequence[int] = (0,), arms: dict[str, FakeArm] = ARMS
) -> list[Path]:
    """Write a run directory for every arm and seed under `root`; return them, arms outermost."""
    questions = make_questions(per_family)
    return [_write_run(root, name, arm, seed, questions) for name, arm in arms.items() for seed in seeds]


def make_questions(per_family: int) -> list[Example]:
    """`per_family` questions of each family, the same in every call."""
    found: list[Example] = []
    for family in ARMS["base"].skill:
        some = {question.id: question for question in generate(family, "test", 2 * per_family)}
        found += list(some.values())[:per_family]
    return found


def _wrong(question: Example) -> list[str]:
    """Answers that the question does not have."""
    match question.answer:
        case Digit(value=value):
            return [str(int(value) + 1), str(int(value) + 11)]
        case Choice(letter=right, options=options):
            return [letter for letter in LETTERS[: len(options)] if letter != right]
        case Box(xyxy=box):
            return [str([round(min(1, side + 0.08), 2) for side in box])]
        case answer:
            return [f"{answer.text}+1", f"{answer.text}+2"]


def judged(
    text: str, score: float | None, status: Status = Status.OK, *, parsed: str | None = None, why: str = "",
    advantage: float | None = None, stop: StopReason = StopReason.EOS,
) -> Judged:  # fmt: skip
    """A judged reply with one token per four characters."""
    tokens = tuple(range(max(1, len(text) // 4)))
    verdict = Verdict(score=score, status=status, parsed=parsed, why=why)
    return Judged(reply=Reply(text=text, token_ids=tokens, stop=stop), verdict=verdict, advantage=advantage)


def token_change(
    asked: Rollout, text: str, pieces: Sequence[str], start: Sequence[float], tuned: Sequence[float]
) -> TokenChange:
    """What training changed of a reply; the last numbers are of all further tokens."""
    start, tuned = ([*some, *[some[-1]] * (len(pieces) - len(some))] for some in (start, tuned))
    about = asked.model_dump(include={"example_id", "family", "question", "gold", "images"})
    numbers = {"pieces": pieces, "start": start, "tuned": tuned}
    return TokenChange.model_validate({**about, **numbers, "by": "tuned", "text": text, "score": 1.0})


def write_lines(path: Path, records: Sequence[Any]) -> None:
    """One record per line."""
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")


def write_scored(root: Path, name: str, scores: Sequence[float | None], *, seed: int = 0, first: int = 0) -> Path:
    """A finished run of which only the greedy scores matter: those of questions `first`, `first + 1`, ..."""
    recipe = {"name": name, "seed": seed, "start": None, "steps": 0}
    folder = root / f"{name}-s{seed}-{content_id(recipe)[:8]}"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({**recipe, "id": content_id(recipe)}))
    lines = [
        Score(
            example_id=f"{number:04}",
            family="count",
            question="How many?",
            gold="7",
            images=(),
            greedy=judged("<answer>7</answer>", score, Status.FAILED if score is None else Status.OK),
        )
        for number, score in enumerate(scores, start=first)
    ]
    write_lines(folder / "scores.jsonl", lines)
    (folder / "DONE").touch()
    return folder


def _write_run(root: Path, name: str, arm: FakeArm, seed: int, questions: Sequence[Example]) -> Path:
    recipe = _recipe(name, arm, seed)
    folder = root / f"{name}-s{seed}-{recipe['id'][:8]}"
    (folder / "images").mkdir(parents=True)
    for question in questions:
        (folder / "images" / f"{question.images[0].sha256}.png").write_bytes(question.images[0].encoded())
    rng = random.Random(f"{name} {seed}")
    scores = [_score(question, arm, rng) for question in questions]
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2))
    write_lines(folder / "scores.jsonl", scores)
    if arm.steps:
        write_lines(folder / "metrics.jsonl", list(_steps(arm, rng)))
    if arm.steps:
        write_lines(folder / "rollouts.jsonl", list(_rollouts(arm, questions, rng)))
    (folder / "evaluation.json").write_text(json.dumps(_evaluation(scores)))
    (folder / "DONE").touch()
    return folder


def _recipe(name: str, arm: FakeArm, seed: int) -> dict[str, Any]:
    start = None if arm.starts_from is None else _recipe(arm.starts_from, ARMS[arm.starts_from], seed)["id"]
    recipe: dict[str, Any] = {
        "name": name,
        "seed": seed,
        "start": start,
        "model": "worlds-7m",
        "data": {"worlds": list(ARMS["base"].skill), "split": "train", "number": 1024, "seed": 11},
        "objective": {"kind": arm.objective, "clip_low": 0.2, "clip_high": 0.28, "kl": 0.0},
        "group_size": 8,
        "prompts_per_step": 16,
        "steps": arm.steps,
        "learning_rate": 2e-5,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    }
    return {**recipe, "id": content_id(recipe)}


def _steps(arm: FakeArm, rng: random.Random) -> Iterator[Step]:
    for number in range(arm.steps):
        progress = 1 - math.exp(-3 * number / arm.steps)
        common = {
            "optim/lr": 2e-5 * min(1, (number + 1) / 6) * (0.5 + 0.5 * math.cos(math.pi * number / arm.steps)),
            "optim/grad_norm": (6.0 if number == 3 else 0.6) * (1.2 - 0.5 * progress) * rng.uniform(0.7, 1.4),
        }
        own = _sft_metrics(progress, rng) if arm.objective == "sft" else _grpo_metrics(arm, progress, rng)
        timing = {"rollout": rng.uniform(1.7, 2.2), "reward": rng.uniform(0.1, 0.2), "update": rng.uniform(1.1, 1.4)}
        yield Step(step=number, metrics={**common, **own}, seconds=sum(timing.values()), timing=timing)


def _sft_metrics(progress: float, rng: random.Random) -> dict[str, float]:
    nll = 1.4 - 0.9 * progress + rng.gauss(0, 0.05)
    return {"loss/nll": nll, "loss/total": nll}


def _grpo_metrics(arm: FakeArm, progress: float, rng: random.Random) -> dict[str, float]:
    goal = fmean(arm.skill.values())
    policy, kl = rng.gauss(0, 0.03), 0.04 * progress * rng.uniform(0.6, 1.5)
    families = {
        f"score/{family}": 0.3 + (skill - 0.3) * progress + rng.gauss(0, 0.08) for family, skill in arm.skill.items()
    }
    return {
        **families,
        "score/mean": 0.32 + (goal - 0.32) * progress + rng.gauss(0, 0.05),
        "score/std": 0.4 - 0.1 * progress + rng.gauss(0, 0.02),
        "loss/policy": policy,
        "loss/kl": 0.02 * kl,
        "loss/total": policy + 0.02 * kl,
        "policy/kl": kl,
        "policy/entropy": 0.9 - 0.5 * progress + rng.gauss(0, 0.03),
        "groups/zero_variance": min(1, max(0, 0.2 + 0.3 * progress + rng.gauss(0, 0.06))),
        "reply/tokens": (64 if arm.thinks else 12 + 40 * progress) + rng.gauss(0, 3),
        "reply/truncated": max(0, 0.02 + rng.gauss(0, 0.01)),
        "status/ok": 0.9 + 0.08 * progress,
        "status/wrong_format": 0.08 * (1 - progress),
        "parity/max_abs": abs(rng.gauss(0, 1e-5)),
    }


def _rollouts(arm: FakeArm, questions: Sequence[Example], rng: random.Random) -> Iterator[Rollout]:
    for number in range(0, arm.steps, 5):
        for question in rng.sample(questions, 2):
            group = [_demonstration(question)] if arm.objective == "sft" else _sampled_group(question, arm, rng)
            yield Rollout(
                step=number,
                example_id=question.id,
                family=question.family,
                question=question.question,
                gold=question.answer.text,
                images=(question.images[0].sha256,),
                group=tuple(group),
            )


def _demonstration(question: Example) -> Judged:
    text = (
        f"<think>\nIt can be seen that it is {question.answer.text}.\n</think>\n<answer>{question.answer.text}</answer>"
    )
    return judged(text, 1.0, parsed=question.answer.text, why=f"equals {question.answer.text}", stop=StopReason.GIVEN)


def _sampled_group(question: Example, arm: FakeArm, rng: random.Random) -> list[Judged]:
    group = [_reply(question, arm, rng) for _ in range(8)]
    scores = [one.verdict.score for one in group if one.verdict.score is not None]
    mean, spread = fmean(scores), pstdev(scores)
    return [one.model_copy(update={"advantage": _advantage(one.verdict.score, mean, spread)}) for one in group]


def _advantage(score: float | None, mean: float, spread: float) -> float | None:
    return None if score is None else 0.0 if spread == 0 else (score - mean) / spread


def _score(question: Example, arm: FakeArm, rng: random.Random) -> Score:
    return Score(
        example_id=question.id,
        family=question.family,
        question=question.question,
        gold=question.answer.text,
        images=(question.images[0].sha256,),
        greedy=_reply(question, arm, rng),
        samples=tuple(_reply(question, arm, rng) for _ in range(8)),
    )


def _reply(question: Example, arm: FakeArm, rng: random.Random) -> Judged:
    think = (
        f"<think>\n{_thoughts(question, rng)}\n</think>\n" if arm.thinks or (arm.steps and rng.random() < 0.7) else ""
    )
    luck = rng.random()
    if luck < 0.01:
        return judged(
            f"{think}<answer>{question.answer.text}</answer>", None, Status.TIMED_OUT, why="no verdict within 2 s"
        )
    if luck < 0.03:
        return judged(think + "I think that", 0.0, Status.WRONG_FORMAT, why="no <answer> block", stop=StopReason.LENGTH)
    if luck < 0.05:
        return judged(f"{think}<answer>many</answer>", 0.0, Status.UNPARSED, parsed="many", why="not a number: 'many'")
    right = rng.random() < arm.skill[question.family]
    answer = question.answer.text if right else rng.choice(_wrong(question))
    why = f"equals {question.answer.text}" if right else f"expected {question.answer.text}"
    if question.family == "locate" and not right:
        return judged(f"{think}<answer>{answer}</answer>", 0.43, parsed=answer, why="IoU 0.43")
    return judged(f"{think}<answer>{answer}</answer>", float(right), parsed=answer, why=why)


def _thoughts(question: Example, rng: random.Random) -> str:
    lines = ["I look at the picture from left to right.", f"The question is about {question.family}.",
             f"I read {_wrong(question)[0]} at first.", f"Wait, that may be {question.answer.text}."]  # fmt: skip
    return "\n".join(lines[: rng.randint(1, 4)])


def _evaluation(scores: Sequence[Score]) -> dict[str, Any]:
    greedy = [score.greedy for score in scores if score.greedy is not None]
    families = sorted({score.family for score in scores})
    return {
        "data": {"worlds": list(ARMS["base"].skill), "split": "test", "number": 200, "seed": 12},
        "protocol": {"max_new_tokens": 192, "samples": 8, "temperature": 1.0, "seed": 0, "system": None},
        "families": {family: _accuracy([s for s in scores if s.family == family]) for family in families},
        **_accuracy(scores),
        "pass_at": {str(k): fmean(_pass_at(score, k) for score in scores) for k in (1, 2, 4, 8)},
        "sampled_accuracy": fmean(j.verdict.score for s in scores for j in s.samples if j.verdict.score is not None),
        "truncated": fmean(j.reply.stop is StopReason.LENGTH for j in greedy),
        "unparsed": fmean(j.verdict.status in (Status.UNPARSED, Status.WRONG_FORMAT) for j in greedy),
        "unmeasured": sum(j.verdict.score is None for j in greedy),
        "reply_tokens": fmean(len(j.reply.token_ids) for j in greedy),
    }


def _accuracy(scores: Sequence[Score]) -> dict[str, Any]:
    measured = [s.greedy.verdict.score for s in scores if s.greedy is not None and s.greedy.verdict.score is not None]
    mean = fmean(measured)
    reach = 1.96 * math.sqrt(mean * (1 - mean) / len(measured))
    return {"accuracy": mean, "ci95": [max(0, mean - reach), min(1, mean + reach)], "n": len(measured)}


def _pass_at(score: Score, k: int) -> float:
    right = sum(j.verdict.score == 1 for j in score.samples)
    return 1 - math.comb(len(score.samples) - right, k) / math.comb(len(score.samples), k)
