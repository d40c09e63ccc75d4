"""Step 5, verify: the answer against the gold. Rules first; a judge for what rules cannot decide.

Rules decide when both answers could be read and compared. What they cannot decide is free text, an answer that is not
of the gold's kind (prose around a number), and a comparison that broke or took too long.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from firsthand.forge.draft import Draft, Ruling
from firsthand.forge.step import Asked, Decision, Dropped, Kept, asking_identity
from firsthand.forge.templates import PromptTemplate
from firsthand.records import OpenEnded, Record, Status, Verdict
from firsthand.reward import Router
from firsthand.teacher import Completion, Message, SamplingParameters, delimiter

_LONGEST_JUDGED = 2_000
"""Characters of an answer that a judge is shown (ours): a longer one is no answer, and could drown the instruction."""


class VerifyConfig(Record):
    """What counts as agreement."""

    score: float = Field(default=0.99, gt=0, le=1)
    """A verifier's score from which rules say yes. Of boxes it is an overlap: use 0.5 where the reasoner must guess."""
    judge: bool = True
    """Ask a judge for what rules cannot decide; without one such rows are dropped as `undecided`."""


class Verify:
    """Both rulings are kept with the row: what rules said, and what the judge said where it was asked."""

    name = "verify"

    def __init__(
        self, judge: SamplingParameters | None, prompt_file: str | None, config: VerifyConfig, router: Router
    ) -> None:
        self._judge, self._config, self._router = judge, config, router
        sample = {"gold": "", "answer": "", "question": "", "word": ""}
        self._template = PromptTemplate(self.name, prompt_file, sample)

    def identity(self) -> dict[str, Any]:
        """Judge, prompt and settings."""
        asked = asking_identity(self._judge, self._template) if self._judge else None
        return {"asked": asked, "settings": self._config.model_dump(mode="json")}

    def ask(self, drafts: Sequence[Draft]) -> Iterable[Asked]:
        """A judge, where rules are at a loss; nobody, where there is no answer because the row is only explored."""
        compared = [d for d in drafts if d.answer is not None and not isinstance(d.example.answer, OpenEnded)]
        verdicts = iter(self._router.judge_answers([(str(d.answer), d.example) for d in compared]))
        for draft in drafts:
            answer = draft.answer
            if answer is None:
                yield Asked(draft)
                continue
            verdict = None if isinstance(draft.example.answer, OpenEnded) else next(verdicts)
            draft = replace(draft, rules=self._ruling(verdict), rules_why=verdict.why if verdict else "free text")
            if draft.rules == "undecided" and self._judge and len(answer) <= _LONGEST_JUDGED:
                gold, question = draft.example.answer.text, draft.example.question
                word = delimiter(answer, gold, question)
                text = self._template.text(gold=gold, answer=answer, question=question, word=word)
                yield Asked(draft, self._judge.request(Message(role="user", text=text)))
            else:
                yield Asked(draft)

    def decide(self, asked: Asked, completion: Completion | None) -> Decision:
        """Keep what agrees; the other rows go with who said so."""
        draft, said, gold = asked.draft, asked.draft.answer, asked.draft.example.answer.text
        if said is None:
            return Kept(draft)
        if completion is None:
            if draft.rules == "undecided":
                detail = f"rules cannot compare {said!r} with {gold!r}, and no judge was asked"
                return Dropped(draft, "undecided", detail)
            if draft.rules == "no":
                return Dropped(draft, "answer_disagrees", f"{said!r} is not {gold!r} ({draft.rules_why})")
            return Kept(draft)
        ruling = yes_or_no(completion.text)
        by = completion.model or (self._judge.model if self._judge else "")
        draft = replace(draft, judge=ruling or completion.text[:80], judged_by=by)
        if ruling is None:
            return Dropped(draft, "judge_unclear", f"expected Yes or No, got {completion.text[:80]!r}")
        if ruling == "no":
            return Dropped(draft, "judge_disagrees", f"the judge says that {said!r} is not {gold!r}")
        return Kept(draft)

    def _ruling(self, verdict: Verdict | None) -> Ruling:
        if verdict is None or verdict.status is not Status.OK or verdict.score is None:
            return "undecided"
        return "yes" if verdict.score >= self._config.score else "no"


def yes_or_no(text: str) -> Literal["yes", "no"] | None:
    """A judge's one word; None for anything else."""
    word = text.strip().strip(".!*\"'").lower()
    return "yes" if word == "yes" else "no" if word == "no" else None
