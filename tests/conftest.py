"""What holds for every test: one thread, a fixed seed, no network."""

import os

# Before anything imports torch, and inherited by the processes that tests start. Tiny models are fastest on one thread,
# and their sums do not depend on the machine's core count.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from firsthand.reward import Router
from firsthand.teacher import AnswerLog

SEED = 20_251_104
THIS_MACHINE = {None, "localhost", "127.0.0.1", "::1"}

# The same examples in every run, and no time limit: a busy machine is not a failure.
settings.register_profile("firsthand", derandomize=True, deadline=None)
settings.load_profile("firsthand")


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed the generators of Python, NumPy and, where a test has imported it, torch; returns the seed."""
    random.seed(SEED)
    np.random.seed(SEED)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(SEED)
    return SEED


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model's folder for each family, which tests only read."""
    from tiny import FAMILIES, tiny_folder

    root = tmp_path_factory.mktemp("models")
    return {family: tiny_folder(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    """Verifiers with one worker, which a busy machine may keep waiting."""
    with Router(workers=1, deadline_s=60.0) as router:
        yield router


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AnswerLog]:
    """An empty log of what teachers and judges say."""
    with AnswerLog(tmp_path / "answers.db") as log:
        yield log


@pytest.fixture
def short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client hardly waits between its attempts."""
    monkeypatch.setattr("firsthand.teacher.client.FIRST_NAP_S", 0.005)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached: connecting to another, or looking up its name, fails the test."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in THIS_MACHINE:
            raise RuntimeError(f"a test tried to reach {address}; tests have no network")
        connect(self, address)

    def guarded_getaddrinfo(host: str | None, *args: Any, **kwargs: Any) -> Any:
        if host not in THIS_MACHINE:
            raise RuntimeError(f"a test tried to look up {host!r}; tests have no network")
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: of two workers, neither is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
