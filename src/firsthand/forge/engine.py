"""Where rows are decoded and hashed: here, or on the machines of a Ray cluster.

Decoding pictures is what a forge does with a processor; everything else waits for teachers. With `ray` the shards of
the first step are prepared by Ray tasks, some ahead of the one that is needed, and come back in order: the data set is
the same, byte for byte. The folder of the data set must be one that all machines share.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from firsthand.ray_cluster import Engine, ray_cluster

_AHEAD = 2
"""Shards under way per processor of the cluster."""


def map_shards(engine: Engine, function: Callable[[Any], Any], shards: Iterable[Any]) -> Iterator[Any]:
    """`function` of each shard, in order. Raises RecipeError when Ray is wanted and not installed."""
    return map(function, shards) if engine == "local" else _by_ray(function, shards)


def _by_ray(function: Callable[[Any], Any], shards: Iterable[Any]) -> Iterator[Any]:
    with ray_cluster() as ray:
        task: Any = ray.remote(lambda shard: function(shard))  # Ray takes plain functions only
        most = max(1, _AHEAD * int(ray.cluster_resources().get("CPU", 1)))
        under_way: deque[Any] = deque()
        for shard in shards:
            under_way.append(task.remote(shard))
            if len(under_way) >= most:
                yield ray.get(under_way.popleft())
        while under_way:
            yield ray.get(under_way.popleft())
