"""A GGUF file, as llama.cpp reads it, -> a plain Hugging Face folder: what `firsthand model` does."""

from firsthand.policy.gguf.folder import check_ready, write_model
from firsthand.policy.gguf.sources import KNOWN, located

__all__ = ["KNOWN", "check_ready", "located", "write_model"]
