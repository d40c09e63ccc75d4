"""Step 6, split: a demonstration that hesitates marks a question to explore (`rl`); the others are imitated (`sft`)."""

from firsthand.forge.step import Dropped, ForgeStep, Kept, Outcome
from firsthand.records import Example

REFLECTIVE_CUES = ("wait", "again", "double-check", "hmm", "mistake", "alternatively", "check", "i should confirm")
"""VLAA-Thinking's list (arXiv:2504.11468). It is matched as the paper does, in lower case and anywhere in the text, so
`against` counts as `again`: the split follows the published one rather than a better one of ours."""


def is_reflective(text: str) -> bool:
    """Whether a demonstration shows one of the cues."""
    lowered = text.lower()
    return any(cue in lowered for cue in REFLECTIVE_CUES)


def _decide(example: Example) -> Outcome:
    if not example.traces:
        return Dropped(example, "no_trace")
    part = "rl" if any(is_reflective(trace.text) for trace in example.traces) else "sft"
    return Kept(example.model_copy(update={"meta": {**example.meta, "split": part}}))


SPLIT = ForgeStep("split", lambda examples: map(_decide, examples))
