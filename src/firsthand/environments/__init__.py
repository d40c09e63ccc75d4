"""Environments: questions that packages of others draw, scored by their own scorers.

    draw.py             an environment's tasks -> examples, in splits that never share a question
    demonstrations.py   worked steps for some of them, in two styles

The packages themselves are known to `workers/` alone, which imports them when they are asked for. An example holds what
the scorer needs, so that it can be kept, handed on and scored wherever the package is.
"""

from firsthand.environments.draw import draw_examples

__all__ = ["draw_examples"]
