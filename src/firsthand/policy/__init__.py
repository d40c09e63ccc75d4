"""The vision-language model as a policy: load, save, positions, the shared-prefix row, log-probs, decoding."""

from firsthand.policy.lora import AdapterOff, Lora
from firsthand.policy.memory import Limits
from firsthand.policy.merging import write_merged
from firsthand.policy.model import Logprobs, Policy
from firsthand.policy.packing import PrefixGroup

__all__ = ["AdapterOff", "Limits", "Logprobs", "Lora", "Policy", "PrefixGroup", "write_merged"]
