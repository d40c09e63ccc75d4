"""The vision-language model as a policy: load, save, positions, the shared-prefix row, log-probs, decoding."""

from firsthand.policy.model import Logprobs, Policy
from firsthand.policy.packing import Group

__all__ = ["Group", "Logprobs", "Policy"]
