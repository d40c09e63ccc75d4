"""How much a worker may take, for its tasks."""

import resource


def limit(kind: int, most: int) -> None:
    """Lower a limit of this process and of those that it starts, such as RLIMIT_AS, unless it is lower already.

    Nobody may raise one again: a machine's own (`ulimit -v`) stays.
    """
    for known in resource.getrlimit(kind):
        most = min(most, known) if known != resource.RLIM_INFINITY else most
    resource.setrlimit(kind, (most, most))
