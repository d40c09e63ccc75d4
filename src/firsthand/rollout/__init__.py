"""The seam to sampling: prompts -> replies.

sampler.py    the seam: settings, and what a sampler is asked
local.py      the policy in this process
"""

from firsthand.rollout.local import LocalSampler
from firsthand.rollout.sampler import IndexedReply, Sampler, Sampling, grouped

__all__ = ["IndexedReply", "LocalSampler", "Sampler", "Sampling", "grouped"]
