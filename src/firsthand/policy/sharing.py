"""Whether replies may share a row with their prompt: is a mask, with explicit positions, all that keeps them apart?

In a model whose layers are causal softmax attention with rotary positions it is. Where anything else carries
information along a row, or counts its tokens, every reply gets a row of its own: exact as well, but slower.
"""

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

from firsthand.processor import family_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sharing:
    """What a model allows."""

    obstacle: str | None
    """Why replies never share a row; None when they may."""
    window: int | None = None
    """Longest row in which sliding-window layers see everything; None without such layers."""

    def allows(self, tokens: int) -> bool:
        """Whether a prompt's replies may share a row of this length. A refusal is logged, once for each cause."""
        if self.obstacle is None and (self.window is None or tokens <= self.window):
            return True
        _say_once(self.obstacle or f"a row is longer than the window of {self.window} tokens of some of its layers")
        return False


def sharing(config: Any) -> Sharing:
    """What the config of a loaded model says.

    Among what never shares: recurrent and linear-attention layers (their state runs on from reply to reply), attention
    in both directions (a prompt would see replies, or pictures be split), router losses (they would count a prompt
    once instead of once per reply), positions that are not rotary, and families that our tests do not cover.
    """
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ())
    has_window = "sliding_attention" in layers
    return Sharing(_obstacle(config, text, layers), int(text.sliding_window) if has_window else None)


def _obstacle(config: Any, text: Any, layers: set[str]) -> str | None:
    family = family_of(config)
    running = sorted(layers - {"full_attention", "sliding_attention"})
    if running:
        return f"it has layers of {' and '.join(running)}, whose state runs through a whole row"
    if family.mixes:
        return family.mixes
    if getattr(text, "use_bidirectional_attention", None):
        return "its tokens attend to later ones"
    if getattr(text, "output_router_logits", None):
        return "its router loss would count a shared prompt once (output_router_logits)"
    if not getattr(text, "rope_parameters", None):
        return "its positions are not rotary"
    if not family.is_tested:
        return f"models of type {config.model_type} have not been tested"
    return None


@cache
def _say_once(cause: str) -> None:
    _LOG.warning(
        "This model's replies do not share a row with their prompt, because %s. Each gets a row of its own: exact, "
        "but slower.",
        cause,
    )
