"""What is asked of a recipe's examples before anything is trained."""

from collections.abc import Sequence

from firsthand.errors import DataError
from firsthand.objective import Imitating, Mixed
from firsthand.recipe import Recipe
from firsthand.records import Example
from firsthand.reward import Router
from firsthand.trainer.sample import demonstration


def check_examples(recipe: Recipe, examples: Sequence[Example], router: Router) -> None:
    """Whether every example can serve the objective. Raises DataError naming those that cannot."""
    if not examples:
        raise DataError("expected at least one example to train on, got none")
    method = recipe.objective
    if method.samples:
        router.check(examples)
    if isinstance(method, Imitating):
        demonstrated = _demonstrated(examples, method.style)
        if isinstance(method, Mixed):
            _check_scores(demonstrated, router)


def _demonstrated(examples: Sequence[Example], style: str | None) -> list[tuple[str, Example]]:
    """The text of each example's demonstration, with the example."""
    traces = [demonstration(example, style) for example in examples]
    missing = [example for example, trace in zip(examples, traces, strict=True) if trace is None]
    if missing:
        styles = sorted({t.style for e in examples for t in e.traces})
        wanted = "one demonstration each" if style is None else f"a demonstration of style {style!r}"
        raise DataError(
            f"expected {wanted}, which {len(missing)} of {len(examples)} examples lack (first: {missing[0].id}); "
            + (f"set objective.style to one of {styles}" if styles else "add a column `trace`")
        )
    return [(trace.text, example) for example, trace in zip(examples, traces, strict=True) if trace is not None]


def _check_scores(demonstrated: Sequence[tuple[str, Example]], router: Router) -> None:
    """A demonstration that its verifier rejects would be pushed away from, as a reply with a negative advantage."""
    verdicts = router.judge_many(demonstrated)
    wrong = [
        f"{e.id} ({v.status}: {v.why})"
        for (_, e), v in zip(demonstrated, verdicts, strict=True)
        if not v.score or v.score < 0.5
    ]
    if wrong:
        raise DataError(
            f"expected demonstrations that score at least 0.5 against their gold answers, got {len(wrong)} of "
            f"{len(demonstrated)} that do not (first: {wrong[0]}); correct them or leave these examples out"
        )
