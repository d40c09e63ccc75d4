"""Every error that firsthand raises on purpose; anything else that reaches a user is a bug of ours.

FirsthandError
|-- DataError     (ValueError)  a user's data is not what a format promises; the message names file, row and remedy
|-- RecipeError   (ValueError)  a recipe asks for something unknown or impossible
`-- ParityError                 two computations of the same quantity disagree; going on would train on a lie
"""


class FirsthandError(Exception):
    """Base of every error raised on purpose."""


class DataError(FirsthandError, ValueError):
    """Data that cannot be used as it is: what was expected, what was got, what to do."""


class RecipeError(FirsthandError, ValueError):
    """A recipe that cannot be run as it is: what was expected, what was got, what to do."""


class ParityError(FirsthandError):
    """Two ways to compute one quantity differ by more than rounding, e.g. log-probs in rollout and in training."""
