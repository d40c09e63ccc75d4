"""The seam to sampling: prompts -> replies.

sampler.py      the seam: settings, and what a sampler is asked
local.py        the policy in this process
slots.py        the same on a GPU, where tensors keep their shapes
served.py       a vLLM server, which takes the policy's weights
vllm_answer.py  what it answers, checked
vllm_server.py  that server: run where vLLM is, without firsthand
parity.py       whether two programs hold the same weights
"""

from firsthand.rollout.local import LocalSampler
from firsthand.rollout.sampler import IndexedReply, Sampler, Sampling, grouped
from firsthand.rollout.served import ServedSampler
from firsthand.rollout.slots import sampler_for

__all__ = [
    "IndexedReply",
    "LocalSampler",
    "Sampler",
    "Sampling",
    "ServedSampler",
    "grouped",
    "sampler_for",
]
