"""The vision-language model as a policy: load, save, positions, the shared-prefix row, log-probs, decoding."""

from firsthand.policy.lora import AdapterOff, Lora
from firsthand.policy.merging import merged_folder
from firsthand.policy.model import Logprobs, Policy
from firsthand.policy.packing import Group

__all__ = ["AdapterOff", "Group", "Logprobs", "Lora", "Policy", "merged_folder"]
