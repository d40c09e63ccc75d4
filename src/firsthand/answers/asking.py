"""How a question is put: its parts, and prompts that ask for thinking and an answer in tags, in the form of its kind.

The request is R1's: `<think>` and `<answer>` (DeepSeek-R1, arXiv:2501.12948, table 1), put as R1-V puts it. Words ours.
"""

from collections.abc import Iterable
from typing import Any

from firsthand.records import IMAGE_MARK, Example, Kind, content_id

BY_KIND = "default"
"""In place of a system prompt: the one of each row's kind."""
FORMS: dict[Kind, str] = {
    "digit": "one number",  # R1-V's counting: `final answer (number)`
    "choice": "the letter of the right option alone",  # LLaVA-1.5's prompt for options (arXiv:2310.03744)
    "letters": "the letters of all right options, such as A, C",  # the same, for several
    "math": "one expression in LaTeX",  # MATH's answers (arXiv:2103.03874)
    "box": "one box [x1, y1, x2, y2] with its upper left and lower right corner, or a list of such boxes",  # ours
    "text": "one word or a short phrase",  # LLaVA-1.5's prompt for VQA v2
    "open": "your answer to the reader in full",  # ours
    "environment": "in exactly the form that the question asks for",  # ours
}
"""What is between the answer tags, by kind; the source of its gist beside it."""
_UNITS = {
    "pixels": ", in pixels of the picture",
    "shares": ", as shares of the picture's width and height from 0 to 1",
    "thousand": ", in thousandths of the picture's width and height from 0 to 1000",
}


def default_prompt(kind: Kind, coordinates: str | None = None) -> str:
    """The system prompt of a kind; of boxes with their units, where the row says which."""
    form = FORMS[kind] + _UNITS.get(coordinates or "", "")
    return (
        "Think about the question first. Put the thinking between <think> and </think>, and then the final answer, "
        f"{form}, between <answer> and </answer>: <think> your thinking </think><answer> your answer </answer>"
    )


def system_of(example: Example, system: str | None) -> str | None:
    """The system prompt that a row is asked with: its own, or else the one for all, or of its kind."""
    told = example.system if example.system is not None else system
    if told != BY_KIND:
        return told
    answer = example.answer
    return default_prompt(answer.kind, answer.coordinates if answer.kind == "box" else None)


def content_parts(example: Example) -> list[dict[str, str]]:
    """A question as the parts of a chat message: pictures where `<image>` marks stand, or first when there are none."""
    if IMAGE_MARK not in example.question or not example.images:
        return [*({"type": "image"} for _ in example.images), {"type": "text", "text": example.question}]
    first, *others = example.question.split(IMAGE_MARK)
    texts = [{"type": "text", "text": first}]
    parts = texts + [part for text in others for part in ({"type": "image"}, {"type": "text", "text": text})]
    return [part for part in parts if part.get("text") != ""]


def prompts_id(system: str | None, examples: Iterable[Example] = ()) -> dict[str, Any]:
    """What a run's id holds besides `system: default`: another text is another run. Nothing where it is not used."""
    if system != BY_KIND:
        return {}
    # Of a kind that came later, only where it is asked for: the other runs keep their ids.
    asked = {"environment"} & {example.answer.kind for example in examples}
    forms = {kind: form for kind, form in FORMS.items() if kind != "environment" or kind in asked}
    return {"system_id": content_id(default_prompt("box"), forms, _UNITS)}
