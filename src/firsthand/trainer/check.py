"""What is asked of a recipe's examples before anything is trained."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache

from firsthand.data import Loaded
from firsthand.errors import BadRow, DataError, shown
from firsthand.objective import Imitating, Method, Mixed
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Example, Trace
from firsthand.reward import Router
from firsthand.trainer.sample import demonstration

_LOG = logging.getLogger(__name__)
_FEWEST, _COMMON = 50, 0.6
"""Questions of a family, and the share of them that has one answer, from which on a warning is due (ours)."""


def check_rows(recipe: Recipe, loaded: Loaded, router: Router, encoder: Encoder | None) -> Loaded:
    """Without the rows that cannot serve the objective, or that the model cannot be asked (`encoder`).

    Raises DataError where the recipe is at fault, and no row.
    """
    if not loaded.examples and not loaded.found:
        raise DataError("expected at least one example to train on, got none")
    method = recipe.objective
    _refuse_pictureless(loaded.examples, method)
    if isinstance(method, Imitating):
        _refuse_undemonstrated(loaded.examples, method.style)
    if encoder is not None:
        encoder.check_system(recipe.system)
        loaded = loaded.without([encoder.complaint(example, recipe.system) for example in loaded.examples])
    if method.samples:
        loaded = loaded.without(router.bad_ground_truths(loaded.examples))
        for line in guessable(loaded.examples):
            _warn_once(line)
    if isinstance(method, Imitating):
        loaded = loaded.without(
            [_bad_demonstration(example, method.style, recipe.system, encoder) for example in loaded.examples]
        )
        if isinstance(method, Mixed):
            loaded = loaded.without(_bad_scores(loaded.examples, method.style, router))
    return loaded


def guessable(examples: Sequence[Example]) -> list[str]:
    """Families most of whose questions have one answer: a policy finds that before anything else."""
    by_family: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        by_family[example.family][example.answer.text] += 1
    found = []
    for family, answers in sorted(by_family.items()):
        [(answer, times)] = answers.most_common(1)
        if answers.total() >= _FEWEST and times >= _COMMON * answers.total():
            found.append(
                f"{family or 'data'}: {times / answers.total():.0%} of the {answers.total()} questions have the answer "
                f"{shown(answer)}; RL finds that guess before anything else, and is paid for it. Take questions whose "
                "answers differ"
            )
    return found


@cache
def _warn_once(line: str) -> None:
    """A study trains many arms on the same questions."""
    _LOG.warning("%s", line)


def _refuse_pictureless(examples: Sequence[Example], method: Method) -> None:
    """A method that changes pictures needs some; rows without any beside them are trained on as they are."""
    if (method.masks or method.distorts) and examples and not any(example.images for example in examples):
        raise DataError(
            f"objective {method.kind} changes pictures: expected rows with some, got none among {len(examples)}; take "
            "grpo, or other data"
        )


def _refuse_undemonstrated(examples: Sequence[Example], style: str | None) -> None:
    """Where no row has what is imitated, the recipe has asked for the wrong thing."""
    if any(demonstration(example, style) is not None for example in examples):
        return
    styles = sorted({t.style for e in examples for t in e.traces})
    wanted = "one demonstration each" if style is None else f"a demonstration of style {style!r}"
    raise DataError(
        f"expected {wanted}, which all {len(examples)} examples lack; "
        + (f"set objective.style to one of {styles}" if styles else "add a column `trace`")
    )


def _bad_demonstration(
    example: Example, style: str | None, system: str | None, encoder: Encoder | None
) -> BadRow | None:
    trace = demonstration(example, style)
    if trace is None:
        expected = "one demonstration" if style is None else f"a demonstration of style {style!r}"
        styles = sorted({t.style for t in example.traces})
        got = f"those of styles {styles}" if styles else "none"
        return BadRow("trace", expected, got, "set objective.style to one of them" if styles else "write one")
    return None if encoder is None else encoder.complaint_of_trace(trace, example, system)


def _bad_scores(examples: Sequence[Example], style: str | None, router: Router) -> list[BadRow | None]:
    """A demonstration that its verifier rejects would be pushed away from, as a reply with a negative advantage."""
    traces = [_given(example, style) for example in examples]
    verdicts = router.judge_many([(trace.text, e) for trace, e in zip(traces, examples, strict=True)])
    expected, remedy = "a demonstration that scores at least 0.5 against the row's gold answer", "correct one of them"
    return [
        None
        if v.score is not None and v.score >= 0.5
        else BadRow("trace", expected, f"{shown(trace.text[-60:])}, which is `{v.status}` ({v.why})", remedy)
        for trace, v in zip(traces, verdicts, strict=True)
    ]


def _given(example: Example, style: str | None) -> Trace:
    trace = demonstration(example, style)
    assert trace is not None, "rows without one are gone"
    return trace
