"""The seam to sampling: prompts -> groups of replies."""

from firsthand.rollout.local import LocalSampler
from firsthand.rollout.sampler import Sampler, Sampling
from firsthand.rollout.scripted import ScriptedSampler

__all__ = ["LocalSampler", "Sampler", "Sampling", "ScriptedSampler"]
