"""A GGUF file -> its metadata, a transformers config, and weights that are de-quantised one by one.

transformers has a reader of its own. It passes over what it does not know, such as the tensor by which Llama 3.1 turns
its positions more slowly: the model that comes out answers, and is another one. Here all that a file has is carried
over, or it is refused. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from firsthand.errors import DataError, shown
from firsthand.policy.loading import model_class
from firsthand.policy.weights import not_finite

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Those whose folders our tests compare with the model that was put into the file. transformers calls them so, too."""
_SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""A file's keys and those of a config."""
_HEAD_SIZES = ("attention.key_length", "attention.value_length", "rope.dimension_count")
_ROPE, _ROPE_DEFAULT = "rope.freq_base", 10_000.0
_OWN_FOLDER = "take the model's own Hugging Face folder"


@dataclass(frozen=True)
class Dequantised:
    """A tensor of a file; `tensor[...]` de-quantises it, into float32."""

    file: Path
    packed: Any
    """The reader's."""
    shape: tuple[int, ...]
    heads: int | None
    """Whose halves are interleaved in the file."""
    dtype: torch.dtype | None = torch.float32

    def __getitem__(self, _: Any) -> Tensor:
        """Raises DataError when it is of a type that cannot be read, or not finite."""
        from gguf import dequantize

        try:
            weights = np.array(dequantize(self.packed.data, self.packed.tensor_type), dtype=np.float32)
        except NotImplementedError as error:
            raise DataError(f"{self.file}: {self.packed.name}: {error}; take a file of another quantisation") from error
        tensor = torch.from_numpy(weights)
        if self.heads is not None:
            # llama.cpp rotates neighbouring rows of a head, and transformers rows that are half a head apart.
            tensor = tensor.unflatten(0, (self.heads, -1, 2)).transpose(1, 2).reshape(self.shape)
        if not_finite({self.packed.name: tensor}):
            raise DataError(
                f"{self.file}: expected finite weights, got others in {self.packed.name}; the file is damaged: copy or "
                "download it again"
            )
        return tensor


class GgufFile:
    """A GGUF file of a known architecture. Build it with `open`."""

    def __init__(self, path: Path, metadata: Mapping[str, Any], packed: Mapping[str, Any]) -> None:
        self.path = path
        self.metadata = metadata
        """Its keys and values."""
        self._packed = packed
        self.architecture: str = metadata.get("general.architecture", "none")
        if self.architecture not in ARCHITECTURES:
            raise DataError(
                f"{path}: expected a model of architecture {', '.join(ARCHITECTURES)}, got {self.architecture}; "
                f"{_OWN_FOLDER}"
            )
        self.config = self._config()
        """As transformers has it, of a model in float32."""

    @classmethod
    def open(cls, path: Path) -> "GgufFile":
        """Read a file's metadata, and where its tensors are.

        Raises DataError when the file is no whole GGUF file, or of a model that is not carried over.
        """
        from gguf import GGUFReader, GGUFValueType

        try:
            read = GGUFReader(path)
            metadata = {name: field.contents() for name, field in read.fields.items()}
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise DataError(f"{path}: expected a whole GGUF file, got: {error}; copy or download it again") from error
        for name, field in read.fields.items():
            if field.types == [GGUFValueType.FLOAT32]:
                metadata[name] = float(str(field.parts[-1][0]))  # 1e-5 is written, and not 9.999999747378752e-06
        return cls(path, metadata, {tensor.name: tensor for tensor in read.tensors})

    @property
    def quantisation(self) -> Counter[str]:
        """Numbers of each type in the file."""
        found: Counter[str] = Counter()
        for tensor in self._packed.values():
            found[tensor.tensor_type.name] += int(tensor.n_elements)
        return found

    def tensors(self) -> dict[str, Dequantised]:
        """All weights, by transformers' names. Raises DataError unless they are those of the config, and no others."""
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

        arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == self.architecture)
        names = get_tensor_name_map(arch, self.config.num_hidden_layers)
        with torch.device("meta"):
            blank = model_class(self.config).from_config(self.config, trust_remote_code=False)
        shapes = {name: tuple(parameter.shape) for name, parameter in blank.named_parameters()}
        theirs = {name: names.get_name(name, (".weight", ".bias")) or name for name in shapes}
        self._refuse(theirs, shapes)
        return {
            ours: Dequantised(self.path, self._packed[name], shapes[ours], self._heads(ours))
            for ours, name in theirs.items()
        }

    def _refuse(self, theirs: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> None:
        missing = [name for name in theirs.values() if name not in self._packed]
        more = sorted(set(self._packed) - set(theirs.values()))
        kept = {name: tuple(int(n) for n in reversed(tensor.shape)) for name, tensor in self._packed.items()}
        other = [name for ours, name in theirs.items() if name in kept and kept[name] != shapes[ours]]
        kinds = {"missing": missing, "of another shape": other, "that such a model does not have": more}
        told = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in kinds.items() if names]
        if told:
            raise DataError(
                f"{self.path}: expected the tensors of a {self.architecture} model with these sizes, got "
                f"{', '.join(told)}; {_OWN_FOLDER}"
            )

    def _heads(self, name: str) -> int | None:
        """The heads of a tensor whose halves are interleaved."""
        if self.architecture != "llama":
            return None
        heads = {"q_proj": self.config.num_attention_heads, "k_proj": self.config.num_key_value_heads}
        return heads.get(name.split(".")[-2])

    def _config(self) -> Any:
        prefix = f"{self.architecture}."
        own = {name.removeprefix(prefix): v for name, v in self.metadata.items() if name.startswith(prefix)}
        if missing := [key for key in _SIZES if key not in own]:
            raise DataError(f"{self.path}: expected the key {prefix}{missing[0]}, got none; {_OWN_FOLDER}")
        strange = sorted(set(own) - {*_SIZES, *_HEAD_SIZES, _ROPE, "vocab_size"})
        strange += [key for key, v in own.items() if key not in strange and not (isinstance(v, int | float) and v > 0)]
        heads = {own[key] for key in _HEAD_SIZES if key in own}
        strange += [key for key in _HEAD_SIZES if len(heads) > 1 and key in own]
        if strange:
            told = ", ".join(f"{prefix}{key} = {shown(own[key])}" for key in strange)
            raise DataError(f"{self.path}: expected a model that its sizes tell all of, got {told}; {_OWN_FOLDER}")
        ids = {name: self.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "padding")}
        return AutoConfig.for_model(
            self.architecture,
            **{ours: own[key] for key, ours in _SIZES.items()},
            head_dim=heads.pop() if heads else own["embedding_length"] // own["attention.head_count"],
            rope_parameters={"rope_type": "default", "rope_theta": own.get(_ROPE, _ROPE_DEFAULT)},
            vocab_size=own.get("vocab_size") or len(self.metadata.get("tokenizer.ggml.tokens", ())),
            tie_word_embeddings="output.weight" not in self._packed,
            bos_token_id=ids["bos"],
            eos_token_id=ids["eos"],
            pad_token_id=ids["padding"],
            architectures=[MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[self.architecture]],
            dtype=torch.float32,
        )
