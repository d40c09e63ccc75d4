"""What a forward keeps for its backward, counted by what autograd really saves."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import tiny_folder
from torch import Tensor, nn

from firsthand.policy import Lora, Policy, PrefixGroup
from firsthand.policy.head import LOGITS_PER_CHUNK, Head
from firsthand.policy.memory import is_out_of_memory
from firsthand.preflight.kernels import KernelCounter
from firsthand.processor import Prompt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("models") / "m", "qwen2_5_vl", hidden=128, layers=6)


def group(prompt: int = 400, replies: int = 4, tokens: int = 100) -> PrefixGroup:
    return PrefixGroup(Prompt("e", (5,) * prompt, None, None), ((7,) * tokens,) * replies)


def saved(policy: Policy, groups: Sequence[PrefixGroup]) -> tuple[Tensor, list[Tensor]]:
    """The log-probs, and the tensors that autograd keeps for their backward; each storage once, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logp_BT = policy.logprobs(groups).logp_BT
    return logp_BT, [tensor for place, tensor in kept.items() if place not in weights]


def size_of(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def test_all_layers_keep_the_same_mask(folder: Path, attention_by: str) -> None:
    _, kept = saved(Policy.load(folder), [group()])
    cells = 800 * 800 if attention_by == "square" else 4 * 200 * 500
    masks = [tensor for tensor in kept if tensor.untyped_storage().nbytes() >= 4 * cells and tensor.dim() == 4]
    assert [tensor.untyped_storage().nbytes() // (4 * cells) for tensor in masks if tensor.shape[1] == 1] == [1]


def test_what_a_token_keeps_hardly_grows_with_its_row(folder: Path, attention_by: str) -> None:
    policy = Policy.load(folder)
    short, long = (size_of(saved(policy, [group(P, 4, P // 4)])[1]) / (2 * P) for P in (200, 800))
    assert long < 1.1 * short


@pytest.mark.parametrize("adapter", [None, Lora(rank=4)], ids=["weights", "adapter"])
@pytest.mark.usefixtures("attention_by")
def test_checkpointing_keeps_a_fraction_and_gives_the_same_gradient(folder: Path, adapter: Lora | None) -> None:
    found = []
    for gradient_checkpointing in (False, True):
        torch.manual_seed(0)
        policy = Policy.load(
            folder, trainable="language", gradient_checkpointing=gradient_checkpointing, adapter=adapter
        )
        assert all(p.requires_grad == (adapter is None) for p in policy.model.get_input_embeddings().parameters())
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:  # at their start they are 0, and so is the gradient of their partners
                nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
        logp_BT, kept = saved(policy, [group()])
        kept_bytes = size_of(kept)
        del kept
        logp_BT.sum().backward()
        found.append((kept_bytes, [p.grad for p in policy.parameters]))
    (plain, expected), (checkpointed, gradients) = found
    assert checkpointed < 0.2 * plain
    for grad, other in zip(gradients, expected, strict=True):
        assert grad is not None and other is not None and other.norm() > 0
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_what_the_output_layer_needs_at_its_worst_does_not_grow_with_the_replies() -> None:
    vocabulary, width = 8192, 8
    peaks = []
    for chunks in (2, 6):
        head = Head(nn.Linear(width, vocabulary, bias=False), (0,), vocabulary)
        tokens = chunks * (LOGITS_PER_CHUNK // 16 // vocabulary)
        head._chunk = LOGITS_PER_CHUNK // 16 // vocabulary  # a sixteenth: 16 MiB of logits
        hidden = torch.randn(tokens, width, requires_grad=True)
        with KernelCounter() as counter:
            found = head.logprobs(hidden, torch.ones(tokens, dtype=torch.long), 1.0, "none")
            found.logp_K.sum().backward()
        peaks.append(counter.peak)
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < 4 * 4 * LOGITS_PER_CHUNK / 16  # logits, log-probs, and their gradients


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("The size of tensor a (2) must match the size of tensor b (3)"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_running_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
