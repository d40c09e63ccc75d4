"""The seam to sampling: prompts -> replies.

sampler.py    the seam: settings, and what a sampler is asked
local.py      the policy in this process
slots.py      the same on a GPU, where tensors keep their shapes
"""

from firsthand.rollout.local import LocalSampler
from firsthand.rollout.sampler import IndexedReply, Sampler, Sampling, grouped
from firsthand.rollout.slots import sampler_for

__all__ = ["IndexedReply", "LocalSampler", "Sampler", "Sampling", "grouped", "sampler_for"]
