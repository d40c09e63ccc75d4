"""From a recipe's words to a router, with the scorer that its open-ended answers need."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from firsthand.reward import Reward, Router
from firsthand.reward.judge import Judge
from firsthand.reward.open_ended import OpenEndedScoring, OpenVerifier, Scorer, WordOverlap
from firsthand.reward.score_service import ScoreService
from firsthand.teacher import Endpoint, SyncClient, open_log


@contextmanager
def router_of(
    reward: Reward, workers: int = 1, deadline_s: float = 5.0, *, folder: Path | None = None
) -> Iterator[Router]:
    """The router of a recipe; what a judge says is kept in the log of `folder`. Raises RecipeError without a scorer."""
    with ExitStack() as stack:
        verifier = None
        if reward.open is not None:
            verifier = OpenVerifier(stack.enter_context(scorer_of(reward.open, folder)), reward.open.beta)
        yield stack.enter_context(
            Router(
                workers,
                deadline_s,
                answer=reward.answer,
                box=reward.box,
                coordinates=reward.coordinates,
                digit_tolerance=reward.digit_tolerance,
                math_tolerance=reward.math_tolerance,
                text=reward.text,
                environment=reward.environment,
                open_ended=verifier,
                function=reward.function,
            )
        )


@contextmanager
def scorer_of(scoring: OpenEndedScoring, folder: Path | None = None) -> Iterator[Scorer]:
    """The scorer of a recipe. Raises RecipeError when the key of its server or its model cannot be had."""
    url, model, deadline_s = str(scoring.url), str(scoring.model), scoring.deadline_s
    if scoring.scorer == "judge":
        endpoint = Endpoint(base_url=url, model=model, key_env=scoring.key_env, timeout_s=deadline_s, attempts=4)
        with open_log(folder) as log, SyncClient(endpoint, log, step=f"judge {model}", deadline_s=deadline_s) as client:
            yield Judge(client, model)
    elif scoring.scorer == "service":
        with ScoreService(url, deadline_s=deadline_s, key_env=scoring.key_env) as service:
            yield service
    elif scoring.scorer == "overlap":
        yield WordOverlap()
    else:
        from firsthand.reward.reward_model import RewardModel

        yield RewardModel(Path(model))
