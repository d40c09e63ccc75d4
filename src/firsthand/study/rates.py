"""How often an untrained model solves the examples that arms are filtered by: evaluations of their own, made once.

OUT/pass-rates/
    evaluate-base-s0-.../   those of a model on the data of all arms and seeds that ask the same
"""

from collections.abc import Callable
from pathlib import Path

from firsthand.evaluation.custom import evaluate_folder
from firsthand.evaluation.joined import PASS_RATES
from firsthand.evaluation.replies import OnProgress
from firsthand.recipe import Recipe
from firsthand.study.plan import Settings, Study, StudyPassRate

OnEvaluation = Callable[[str], OnProgress]


def with_rates(
    study: Study, recipe: Recipe, root: Path, on_evaluation: OnEvaluation, settings: Settings | None = None
) -> Recipe:
    """An arm's recipe that says where its pass rates are, which are measured first where they are not there yet.

    `settings` are those that the recipe was made with. Raises what evaluating raises.
    """
    asked = study.pass_rate(recipe.name, settings)
    if asked is None or recipe.data.pass_rate is None:
        return recipe
    scores = str(_measured(study, asked, recipe, root / PASS_RATES, on_evaluation))
    filtered = recipe.data.pass_rate.model_copy(update={"scores": scores})
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"pass_rate": filtered})})


def refuse_empty(study: Study, seed: int, root: Path, on_evaluation: OnEvaluation) -> None:
    """Measure all pass rates. Raises DataError where one leaves an arm no example, before another arm is trained."""
    names = {name: Path(name) for name in study.arms}
    for arm in study.arms:
        if study.pass_rate(arm) is not None:
            with_rates(study, study.recipe(arm, seed, names), root, on_evaluation).data.load()


def _measured(study: Study, asked: StudyPassRate, recipe: Recipe, folder: Path, on_evaluation: OnEvaluation) -> Path:
    """The run of the evaluation; the model is that which the arm begins with, and no run of a seed."""
    test = study.evaluation
    drawn = {"samples": asked.samples, "greedy": False, "blind": None}
    return evaluate_folder(
        study.recipe_from_scratch(asked.of, recipe.seed).model_folder(),
        recipe.data.unfiltered,
        test.protocol.model_copy(update=drawn),
        folder,
        on_evaluation(f"{asked.of}, pass rates"),
        name=asked.of,
        reward=test.reward,
    )
