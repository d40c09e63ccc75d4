"""What a model folder says about conversations: its chat template, what ends a turn, and what text must not contain."""

from pathlib import Path
from typing import Any

from firsthand.errors import DataError
from firsthand.processor.folder import settings_in
from firsthand.processor.rendering import rendered

REPLY_MARK = "firsthand"
"""Stands for a reply when a template is asked what it writes after one."""


class Conversation:
    """The tokenizer of one model folder and its chat template."""

    def __init__(self, folder: str | Path, tokenizer: Any, *, in_parts: bool) -> None:
        """`in_parts`: the template wants each message as a list of parts, as those of most vision models do.

        Raises DataError when the folder has no chat template, or nothing that would end a reply.
        """
        self.tokenizer = tokenizer
        tokenizer.chat_template = _chat_template(Path(folder), tokenizer)
        self._in_parts = in_parts
        added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._structure = tuple(dict.fromkeys([*tokenizer.all_special_tokens, *added]))
        self.stop_ids: tuple[int, ...] = self._stop_ids(Path(folder))
        """A reply ends with any of these; the first one ends the assistant's turn."""
        if not self.stop_ids:
            raise DataError(
                f"{folder}: expected an end-of-text token in tokenizer_config.json or generation_config.json, got "
                "none; name it there (`eos_token`)"
            )

    def render(self, question: list[dict[str, str]], system: str | None, where: str) -> str:
        """The conversation's text up to where the assistant's turn begins; `question` in parts.

        Raises DataError, which says `where`, when a text has special tokens or the template drops or refuses one.
        """
        texts = [part["text"] for part in question if part["type"] == "text"]
        for text in (system or "", *texts):
            self.refuse_structure(text, f"{where}: the question or system prompt")
        messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
        if not self._in_parts and len(question) == len(texts):
            messages = [{"role": "user", "content": "".join(texts)}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": self._content(system)})
        shown = rendered(self.tokenizer, messages, where, add_generation_prompt=True)
        dropped = [text for text in (system or "", *texts) if text.strip() not in shown]
        if dropped:
            raise DataError(
                f"{where}: expected the model folder's chat template to show the system prompt and the question, got "
                f"a text without {dropped[0][:60]!r}; use a template that shows it, or leave the system prompt out"
            )
        return shown

    def structure_in(self, text: str) -> list[str]:
        """The special tokens that a text holds, in its order: they end a turn, or stand for pixels not there."""
        return sorted((token for token in self._structure if token in text), key=text.find)

    def refuse_structure(self, text: str, where: str) -> None:
        """Raise DataError when a text holds special tokens."""
        found = self.structure_in(text)
        if found:
            raise DataError(f"{where}: expected plain text, got the special tokens {found}; remove them")

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, as it is: a template writes what begins a conversation itself."""
        # Without its warning of long texts: what is too long is our own error.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self._in_parts else text

    def _stop_ids(self, folder: Path) -> tuple[int, ...]:
        known = [self._end_of_turn(), *_generation_stops(folder), self.tokenizer.eos_token_id]
        # A padding token says nothing. Qwen's ends a text that is not a conversation.
        if self.tokenizer.pad_token in self._structure:
            known.append(self.tokenizer.pad_token_id)
        return tuple(dict.fromkeys(token for token in known if token is not None))

    def _end_of_turn(self) -> int | None:
        """The special token that the template writes right after a reply; None when it writes none."""
        said = [{"role": role, "content": self._content(REPLY_MARK)} for role in ("user", "assistant")]
        shown = rendered(self.tokenizer, said, "chat template", add_generation_prompt=False)
        after = self.ids(shown.rpartition(REPLY_MARK)[2])
        is_special = bool(after) and self.tokenizer.convert_ids_to_tokens(after[0]) in self._structure
        return after[0] if is_special else None


def _generation_stops(folder: Path) -> list[int]:
    """`eos_token_id` of generation_config.json, which may be one id or several."""
    file = folder / "generation_config.json"
    found = settings_in(file).get("eos_token_id") if file.is_file() else None
    return [found] if isinstance(found, int) else [int(token) for token in found or ()]


def _chat_template(folder: Path, tokenizer: Any) -> str:
    """The folder's template. Older folders keep it in chat_template.json, which a tokenizer alone does not read."""
    legacy = folder / "chat_template.json"
    if legacy.is_file():
        return str(settings_in(legacy)["chat_template"])
    if tokenizer.chat_template is None:
        raise DataError(
            f"{folder}: expected a chat template (chat_template.jinja), got none; use an instruct model, or put the "
            "chat_template.jinja of one with the same tokenizer into the folder"
        )
    return str(tokenizer.chat_template)
