"""A vLLM server that a training can push weights into: run it with a Python that has vLLM; firsthand need not be there.

    python src/firsthand/rollout/vllm_server.py --model FOLDER --port 8000

It is vLLM's own server, with the settings that rollouts need, and a weight-transfer engine named `firsthand`, which
takes weights from safetensors in a folder that both sides see. vLLM's own engines want NCCL or CUDA's handles on both
sides, and vLLM in the training's process; files want neither, work on CPUs, and over a shared file system.

Processes that vLLM spawns import this file again as their main module, so that they know the engine, too.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_SERVER_DEV_MODE", "1")  # or there are no endpoints for weights; read when vLLM is imported

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

ENGINE = "firsthand"
SETTINGS = {
    "--enable-scale-out": None,  # tokens in, tokens out
    "--logprobs-mode": "processed_logprobs",  # of the distribution that is sampled from: temperature and bans included
    "--generation-config": "vllm",  # no top_p or top_k of the folder's
    "--served-model-name": "policy",
    "--weight-transfer-config": f'{{"backend": "{ENGINE}"}}',
}
ON_CPU = {
    "--no-enable-chunked-prefill": None,  # with it a request that has a seed ends vLLM 0.32's engine
    "--enforce-eager": None,
}


@dataclass
class Nothing(WeightTransferInitInfo):  # type: ignore[misc]
    """There is nobody to meet."""


@dataclass
class Files(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Where the weights lie, and what has to be there."""

    file: str
    names: list[str] = field(default_factory=list)


class FileEngine(WeightTransferEngine[Nothing, Files]):  # type: ignore[misc]
    """Weights as a model folder has them, read from safetensors."""

    init_info_cls = Nothing
    update_info_cls = Files

    def init_transfer_engine(self, init_info: Nothing) -> None:
        """See vLLM."""

    def start_weight_update(self) -> None:
        """Layers take weights as they are in files, and make of them again what their kernels want."""
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """As vLLM's, which waits for a device even where there is none."""
        self.receive_weights(self.parse_update_info(update_info))
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: Files) -> None:
        """Raises ValueError, and takes nothing, where a tensor that was announced is not there."""
        with safe_open(update_info.file, framework="pt") as opened:
            there = set(opened.keys())
            if there != set(update_info.names):
                missing = sorted(set(update_info.names) ^ there)
                raise ValueError(
                    f"{update_info.file}: expected {len(update_info.names)} tensors as announced, got {len(there)} "
                    f"(the first that differs is {missing[0]}); push again"
                )
            self.model.load_weights((name, opened.get_tensor(name)) for name in update_info.names)

    def finish_weight_update(self) -> None:
        """See vLLM."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """See vLLM."""


WeightTransferEngineFactory.register_engine(ENGINE, FileEngine)


def arguments(said: list[str], *, on_cpu: bool) -> list[str]:
    """vLLM's command line: what was said, and our settings where nothing was."""
    wanted: dict[str, Any] = {**SETTINGS, **(ON_CPU if on_cpu else {})}
    names = {word.partition("=")[0].replace("--no-", "--") for word in said}
    added = [
        [name] if value is None else [name, value]
        for name, value in wanted.items()
        if name.replace("--no-", "--") not in names
    ]
    return [*said, *(word for pair in added for word in pair)]


def main() -> None:
    """Serve."""
    from vllm.entrypoints.launchers.api_server.entry import main as serve
    from vllm.platforms import current_platform

    # Children find this file by its path.
    sys.argv = [str(Path(__file__).resolve()), *arguments(sys.argv[1:], on_cpu=current_platform.is_cpu())]
    serve()


if __name__ == "__main__":
    main()
