"""What every world provides: a scene drawn from a random source, and questions about it with exact answers.

A scene is split by its content: `split_of(scene.key)` puts every scene in exactly one of train, validation and test,
so no two splits can share a scene, whatever the seeds.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from firsthand.records import Answer


@dataclass(frozen=True)
class Scene:
    """A drawn scene."""

    picture: Image.Image
    key: str
    """Identifies the scene's content, not only its answer; decides its split."""
    caption: str
    """An exact description in the world's own terms."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the questions are asked about."""


@dataclass(frozen=True)
class Question:
    """A question about a scene, its gold answer, and the short correct steps that lead there."""

    text: str
    answer: Answer
    steps: tuple[str, ...]
    said: str
    """The answer as a reply writes it, between the answer tags."""


@dataclass(frozen=True)
class World:
    """A family of tasks."""

    name: str
    draw: Callable[[random.Random, str, bool, str], Scene]
    """`(rng, level, shifted, split) -> Scene`; level is `easy` or `hard`; only worlds of real pixels need the split."""
    ask: Callable[[random.Random, Scene], Question]
