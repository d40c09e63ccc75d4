"""A reward model in this process. The only file of this room that needs torch; imported when a recipe asks for one."""

from pathlib import Path
from typing import Any, final

from firsthand.errors import RecipeError
from firsthand.reward.open_ended import Context, ScoringFailed


@final
class RewardModel:
    """A text reward model in a Hugging Face folder, with one output; it sees question and answer, and no picture."""

    def __init__(self, folder: Path) -> None:
        """Raises RecipeError when the folder holds no such model, DataError when its weights are not whole."""
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification

        from firsthand.policy.weights import read_weights
        from firsthand.processor.folder import UNTRUSTED, reading, tokenizer_of

        if not (folder / "config.json").exists():
            raise RecipeError(f"reward.open.model: expected a Hugging Face folder, got {folder} without config.json")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with reading(folder, "a config.json"):
            config: Any = AutoConfig.from_pretrained(folder, **UNTRUSTED)
        if (outputs := config.num_labels) != 1:
            raise RecipeError(
                f"reward.open.model: expected a model with one output, got {outputs} in {folder}; "
                "a classifier is no reward model"
            )
        # A language model's folder has no weights of that output: they are missed, and not drawn at random.
        self._model: Any = read_weights(AutoModelForSequenceClassification, folder, config).to(device).eval()
        self._tokenizer: Any = tokenizer_of(folder)
        self.identity = f"model: {folder.name}"

    def score(self, context: Context, answer: str) -> float:
        """The model's logit. Raises ScoringFailed when the text is longer than the model can read: nothing is cut."""
        import torch

        batch = self._tokenizer(self._text(context.question, answer), return_tensors="pt")
        if (tokens := batch["input_ids"].shape[1]) > self._tokenizer.model_max_length:
            raise ScoringFailed(f"{tokens} tokens, and the reward model reads {self._tokenizer.model_max_length}")
        with torch.inference_mode():
            return float(self._model(**batch.to(self._model.device)).logits[0, 0])

    def _text(self, question: str, answer: str) -> str:
        if self._tokenizer.chat_template is None:
            return f"{question}\n{answer}"
        from firsthand.processor.rendering import rendered

        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return rendered(self._tokenizer, turns, "reward.open.model", add_generation_prompt=False)
