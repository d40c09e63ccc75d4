"""From a recipe's words to a router, with the scorer that its open-ended answers need."""

from pathlib import Path

from firsthand.reward import Reward, Router
from firsthand.reward.endpoint import ChatEndpoint, ScoreService
from firsthand.reward.judge import Judge
from firsthand.reward.open_ended import OpenVerifier, Scorer, Scoring, WordOverlap


def router_of(reward: Reward, workers: int = 1, deadline_s: float = 5.0) -> Router:
    """The router that a recipe asks for. Raises RecipeError when its scorer cannot be had."""
    verifier = None if reward.open is None else OpenVerifier(scorer_of(reward.open), reward.open.beta)
    return Router(workers, deadline_s, box=reward.box, open_ended=verifier, function=reward.function)


def scorer_of(scoring: Scoring) -> Scorer:
    """The scorer of a recipe. Raises RecipeError when its URL or its model is not usable."""
    if scoring.scorer == "judge":
        endpoint = ChatEndpoint(str(scoring.url), str(scoring.model), deadline_s=scoring.deadline_s)
        return Judge(endpoint, str(scoring.model))
    if scoring.scorer == "service":
        return ScoreService(str(scoring.url), deadline_s=scoring.deadline_s)
    if scoring.scorer == "overlap":
        return WordOverlap()
    from firsthand.reward.reward_model import RewardModel

    return RewardModel(Path(str(scoring.model)))
