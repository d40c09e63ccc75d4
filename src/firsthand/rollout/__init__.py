"""The seam to sampling: prompts -> groups of replies."""

from firsthand.rollout.local import LocalSampler
from firsthand.rollout.sampler import OnReply, Sampler, Sampling, ignore
from firsthand.rollout.scripted import ScriptedSampler

__all__ = ["LocalSampler", "OnReply", "Sampler", "Sampling", "ScriptedSampler", "ignore"]
