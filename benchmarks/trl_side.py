"""TRL's side: its GRPOTrainer with everything set to its advantage, driven step by step.

What TRL's outer loop adds to a step (data loading, callbacks, logging) is left out.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Image, List, Value  # type: ignore[import-untyped]
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, Qwen2_5_VLProcessor
from transformers.processing_utils import ProcessorMixin
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid
from workload import MAX_GRAD_NORM, examples_of, group_of, reward

from firsthand.recipe import Recipe
from firsthand.records import Example

_UTILS: Any = importlib.import_module("trl.trainer.utils")


class ImageTextProcessor(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without its video part, which cannot be built without torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def processor(folder: Path) -> ImageTextProcessor:
    """The model's processor; it pads on the left, as TRL's generation needs."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder), padding_side="left", local_files_only=True)
    image_processor = AutoImageProcessor.from_pretrained(str(folder), backend="pil", local_files_only=True)
    return ImageTextProcessor(image_processor, tokenizer, chat_template=tokenizer.chat_template)


def config(recipe: Recipe, folder: str, forwards: int, device: str = "cpu") -> GRPOConfig:
    """The recipe in TRL's words; an update runs as so many forwards of equal size."""
    length = recipe.sampling.max_new_tokens
    return GRPOConfig(
        output_dir=folder,
        use_cpu=device == "cpu",
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        disable_dropout=True,
        use_vllm=False,
        per_device_train_batch_size=recipe.prompts * group_of(recipe) // forwards,
        gradient_accumulation_steps=forwards,
        num_generations=group_of(recipe),
        num_iterations=1,
        max_completion_length=length,
        generation_kwargs={"min_new_tokens": length},
        temperature=recipe.sampling.temperature,
        loss_type="grpo",
        beta=0.0,
        scale_rewards="group",
        epsilon=0.2,
        max_grad_norm=MAX_GRAD_NORM,
        learning_rate=recipe.optimizer.lr,
        remove_unused_columns=False,
        shuffle_dataset=False,
        max_steps=recipe.steps,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=recipe.seed,
    )


@contextmanager
def replies_only_head() -> Iterator[None]:
    """Let TRL's output layer score only the replies' tokens. By itself it does so on GPUs, and elsewhere all tokens."""
    usual = _UTILS._use_triton
    _UTILS._use_triton = lambda device: True
    try:
        yield
    finally:
        _UTILS._use_triton = usual


class Trl:
    """TRL's trainer, step by step."""

    def __init__(
        self,
        recipe: Recipe,
        examples: list[Example],
        folder: str,
        forwards: int = 1,
        *,
        model: Any = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Load the recipe's model, unless there is one; new AdamW moments, unless there is an optimizer.

        TRL may write into the folder. `forwards` per update must divide the replies of a step.
        """
        self.forwards = forwards
        self._recipe = recipe
        self._examples = examples
        self.model: Any = model or AutoModelForImageTextToText.from_pretrained(
            str(recipe.model_folder()), dtype=torch.float32, attn_implementation="sdpa", local_files_only=True
        )
        self.model.model.visual.requires_grad_(recipe.trainable == "all")
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer: torch.optim.Optimizer = optimizer or torch.optim.AdamW(
            self.parameters, lr=recipe.optimizer.lr, betas=(0.9, 0.999), weight_decay=0.0, fused=True
        )
        self.processor = processor(recipe.model_folder())
        self._group = group_of(recipe)
        self.trainer: Any = GRPOTrainer(
            model=self.model,
            reward_funcs=self._rewards,
            args=config(recipe, folder, forwards, self.model.device.type),
            train_dataset=dataset(examples[: recipe.prompts]),
            processing_class=self.processor,
        )
        self.trainer.current_gradient_accumulation_steps = forwards  # set by the outer loop, which is not run here
        self.model.train()

    def rows(self, step: int) -> list[dict[str, Any]]:
        """What TRL's data loader gives for a step: every prompt G times, pictures decoded."""
        return repeated(examples_of(step, self._examples, self._recipe), self._group)

    def full_step(self, rows: list[dict[str, Any]]) -> None:
        """Tokenise, generate, judge, update."""
        for _ in range(self.forwards):  # the first one generates for all
            self.trainer.training_step(self.model, rows, None)
        self._descend()

    def replay(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Generate once, and keep what an update needs."""
        return dict(self.trainer._generate_and_score_completions(rows))

    def update(self, inputs: dict[str, Any]) -> float:
        """Log-probs, backward and optimizer step on given replies; the gradient's norm before clipping."""
        parts = split_tensor_dict(split_pixel_values_by_grid(inputs), self.forwards)  # as TRL's own buffer does
        for part in parts:
            loss = self.trainer.compute_loss(self.model, unsplit_pixel_values_by_grid(part))
            self.trainer.accelerator.backward(loss)
        return self._descend()

    def _descend(self) -> float:
        norm = self.trainer.accelerator.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.trainer._metrics["train"].clear()  # TRL does so when it logs
        return float(norm)

    def _rewards(self, completions: list[Any], **_: Any) -> list[float | None]:
        return [reward(i, self._group) for i in range(len(completions))]


def dataset(examples: list[Example]) -> Dataset:
    """Examples in TRL's vision format."""
    columns = {
        "prompt": [[{"role": "user", "content": e.question}] for e in examples],
        "images": [[picture.open() for picture in e.images] for e in examples],
    }
    message = {"role": Value("string"), "content": Value("string")}
    return Dataset.from_dict(columns, features=Features({"prompt": List(message), "images": List(Image())}))


def repeated(examples: list[Example], group: int) -> list[dict[str, Any]]:
    """Rows of that data set, each `group` times in a row."""
    return [dict(row) for row in dataset(examples) for _ in range(group)]
