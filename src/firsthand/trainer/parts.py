"""An optimizer's state that ranks hold in parts: files of torch.distributed.checkpoint, safetensors, without a pickle.

Any number of ranks reads what any other has written, one process included.
"""

import warnings
from pathlib import Path

import torch.distributed as dist
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from firsthand.trainer.optimizer import Updater


def save_parts(optimizer: Updater, folder: Path) -> None:
    """Write this rank's parts to a folder that is there; all ranks do, and go on when all have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own calls
        save(optimizer.parts(), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def load_parts(optimizer: Updater, folder: Path) -> None:
    """Give an optimizer the state that `save_parts` wrote, however its parameters are divided now."""
    reader = HuggingFaceStorageReader(str(folder))
    found = reader.read_metadata().state_dict_metadata
    parts = {
        name: optimizer.room(name, kept.size, kept.properties.dtype)
        for name, kept in found.items()
        if isinstance(kept, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one process reads alone
        load(parts, storage_reader=reader, no_dist=not dist.is_initialized())
    optimizer.restore(parts)
