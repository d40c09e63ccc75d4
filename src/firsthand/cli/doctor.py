"""`firsthand doctor`: what this machine has, what works with it, and what to do about what does not."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "math-verify", "pillow", "pyarrow")

_Check = tuple[bool | None, str]
"""Whether it is as it should be, None for what is merely absent and optional; and a line about it."""


def doctor_command(args: argparse.Namespace) -> int:
    """Print the findings; 1 when something that firsthand needs is broken, else 0."""
    findings = list(_checks())
    for ok, what in findings:
        print({True: "  ok   ", False: "BROKEN ", None: "  --   "}[ok] + what)
    return int(any(ok is False for ok, _ in findings))


def _checks() -> Iterator[_Check]:
    yield True, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    disk = shutil.disk_usage(".").free >> 30
    yield True, f"{os.cpu_count()} processors, {memory:.0f} GiB of memory, {disk} GiB of disk free"
    for name in _PACKAGES:
        try:
            yield True, f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield False, f"{name} is missing: pip install firsthand"
    yield from _accelerator()
    yield _small_model()
    if importlib.util.find_spec("sklearn") is None:
        yield None, "sklearn is not installed (the digits world: pip install 'firsthand[demo]')"
    else:
        yield True, "sklearn"


def _accelerator() -> Iterator[_Check]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield True, f"GPU {index}: {properties.name}, {properties.total_memory >> 30} GiB"
    else:
        yield None, f"no GPU: the demo runs on {torch.get_num_threads()} CPU threads"
    yield _ranks(torch.cuda.device_count())
    yield _vllm()


def _ranks(gpus: int) -> _Check:
    """Whether torchrun can start several ranks here, and how they would talk."""
    import torch.distributed as dist

    wanted = "nccl" if gpus > 1 else "gloo"
    if not dist.is_available() or not dist.is_backend_available(wanted):
        return None, f"several devices: this torch has no {wanted}, so training is one process (docs/scale.md)"
    if gpus > 1:
        return True, f"several devices: torchrun --nproc-per-node {gpus} -m firsthand train ... (docs/scale.md)"
    return True, "several devices: one GPU or none here; ranks on CPUs work, and are for trying (docs/scale.md)"


def _vllm() -> _Check:
    """Whether a server for replies can be started from this Python, and how from another."""
    from firsthand.rollout.served import SERVER, started

    if importlib.util.find_spec("vllm") is None:
        return None, f"replies from vLLM: it is not in this Python, and may be in another: {started()} (docs/scale.md)"
    return True, f"replies from vLLM: python {SERVER} --model FOLDER (docs/scale.md)"


def _small_model() -> _Check:
    """Load the shipped model and answer one question: the shortest proof that everything fits together."""
    from firsthand.policy import Policy
    from firsthand.processor import Encoder
    from firsthand.rollout import LocalSampler, Sampling
    from firsthand.worlds import SMALL, generate

    encoder = Encoder.load(SMALL)
    prompt = encoder.prompt(generate("count", "test", 1)[0])
    sampler = LocalSampler(Policy.load(SMALL), encoder)
    [answer] = sampler.sample([prompt], 1, Sampling(max_new_tokens=96, temperature=0))
    return True, f"the small model answers a question about a picture: {answer.reply.text}"
