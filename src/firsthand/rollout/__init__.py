"""The seam to sampling: prompts -> replies.

sampler.py    the seam: settings, and what a sampler is asked
local.py      the policy in this process
scripted.py   a script
"""

from firsthand.rollout.local import LocalSampler
from firsthand.rollout.sampler import IndexedReply, Sampler, Sampling, grouped
from firsthand.rollout.scripted import ScriptedSampler

__all__ = ["IndexedReply", "LocalSampler", "Sampler", "Sampling", "ScriptedSampler", "grouped"]
