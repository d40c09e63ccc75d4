"""What a reply is worth: (reply, ground truth) -> Verdict.

The kind of the ground truth chooses the verifier, never a data set's name.
"""

from firsthand.reward.alarms import alarms
from firsthand.reward.router import Router
from firsthand.reward.shaping import Reward

__all__ = ["Reward", "Router", "alarms"]
