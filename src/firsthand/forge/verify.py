"""Step 5, verify: the answer against the gold. Rules first; a judge for what rules cannot decide.

Rules decide when both answers could be read and compared. What they cannot decide is free text, an answer that is not
of the gold's kind (prose around a number), and a comparison that broke or took too long.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from firsthand.answers.stated import CLOSE, OPEN
from firsthand.forge.step import Asked, Decision, Dropped, Kept, dropped_by, noted, notes
from firsthand.forge.teaching import Voice
from firsthand.forge.templates import Prompt
from firsthand.records import Example, OpenEnded, Record, Status, Verdict
from firsthand.reward import Router
from firsthand.teacher import Failure, Outcome, delimiter

LONGEST = 2_000
"""Characters of an answer that a judge is shown (ours): a longer one is no answer, and could drown the instruction."""


class VerifyConfig(Record):
    """What counts as agreement."""

    score: float = Field(default=0.99, gt=0, le=1)
    """A verifier's score from which rules say yes. Of boxes it is an overlap: use 0.5 where the reasoner must guess."""
    judge: bool = True
    """Ask a judge for what rules cannot decide; without one such rows are dropped as `undecided`."""


Ruling = Literal["yes", "no", "undecided"]


class Verify:
    """Both rulings are kept with the row: what rules said, and what the judge said where it was asked."""

    name = "verify"

    def __init__(self, voice: Voice | None, prompt_file: str | None, config: VerifyConfig, router: Router) -> None:
        """`voice` None: no judge."""
        self._voice, self._config, self._router = voice, config, router
        self._prompt = Prompt(self.name, prompt_file, {"gold": "", "answer": "", "question": "", "word": ""})

    def identity(self) -> dict[str, Any]:
        """Judge, prompt and settings."""
        asked = self._voice.identity(self._prompt) if self._voice else None
        return {"asked": asked, "settings": self._config.model_dump(mode="json")}

    def ask(self, examples: Sequence[Example]) -> Iterable[Asked]:
        """A judge, where rules are at a loss."""
        ruled = [e for e in examples if e.traces and not isinstance(e.answer, OpenEnded)]
        verdicts = iter(self._router.judge_many([(f"{OPEN}{notes(e)['answer']}{CLOSE}", e) for e in ruled]))
        for example in examples:
            if not example.traces:  # there is nothing to verify in a question that is only explored
                yield Asked(example)
                continue
            verdict = None if isinstance(example.answer, OpenEnded) else next(verdicts)
            example = noted(example, rules=self._ruling(verdict), rules_why=verdict.why if verdict else "free text")
            undecided = notes(example)["rules"] == "undecided"
            if undecided and self._voice and len(notes(example)["answer"]) <= LONGEST:
                yield Asked(example, self._voice.request(self._question(example)))
            else:
                yield Asked(example)

    def decide(self, asked: Asked, outcome: Outcome | None) -> Decision:
        """Keep what agrees; the other rows go with who said so."""
        example = asked.example
        if not example.traces:
            return Kept(example)
        if isinstance(outcome, Failure):
            return dropped_by(example, outcome)
        said, gold, rules = notes(example)["answer"], example.answer.text, notes(example)["rules"]
        if outcome is None:
            if rules == "undecided":
                return Dropped(
                    example, "undecided", f"rules cannot compare {said!r} with {gold!r}, and no judge was asked"
                )
            if rules == "no":
                return Dropped(example, "answer_disagrees", f"{said!r} is not {gold!r} ({notes(example)['rules_why']})")
            return Kept(example)
        ruling = yes_or_no(outcome.text)
        example = noted(example, judge=ruling or outcome.text[:80], judged_by=outcome.model or self._voice_model)
        if ruling is None:
            return Dropped(example, "judge_unclear", f"expected Yes or No, got {outcome.text[:80]!r}")
        if ruling == "no":
            return Dropped(example, "judge_disagrees", f"the judge says that {said!r} is not {gold!r}")
        return Kept(example)

    @property
    def _voice_model(self) -> str:
        return self._voice.model if self._voice else ""

    def _ruling(self, verdict: Verdict | None) -> Ruling:
        if verdict is None or verdict.status is not Status.OK or verdict.score is None:
            return "undecided"
        return "yes" if verdict.score >= self._config.score else "no"

    def _question(self, example: Example) -> str:
        answer, gold = notes(example)["answer"], example.answer.text
        word = delimiter(answer, gold, example.question)
        return self._prompt.text(gold=gold, answer=answer, question=example.question, word=word)


def yes_or_no(text: str) -> Literal["yes", "no"] | None:
    """A judge's one word; None for anything else."""
    word = text.strip().strip(".!*\"'").lower()
    return "yes" if word == "yes" else "no" if word == "no" else None
