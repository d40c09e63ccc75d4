"""What ranks tell each other of a step: groups, without the pixels of their pictures, which are made anew where a group
is trained."""

from collections.abc import Sequence
from dataclasses import replace

from firsthand.processor import Encoder, Prompt
from firsthand.records import Example
from firsthand.trainer.batch import Batch, Group
from firsthand.trainer.ranks import Ranks, dealt


def together(scored: Batch, drawn: Sequence[Example], ranks: Ranks) -> Batch:
    """What all ranks have scored, in the order in which it was drawn; timings are this rank's."""
    if ranks.size == 1:
        return scored
    places = dealt([example.id for example in drawn], ranks)
    mine = dict(zip(places, scored.groups, strict=True))
    told = ranks.gathered([(place, bare(group).prompt, group.replies) for place, group in mine.items()])
    groups = tuple(
        mine.get(place) or Group(drawn[place], prompt, replies) for place, prompt, replies in sorted(told, key=_first)
    )
    return Batch(groups, groups, scored.timing)


def with_pixels(group: Group, encoder: Encoder, system: str | None) -> Group:
    """The group with the pixels of its pictures, where another rank has made its prompt."""
    return replace(group, prompt=encoder.prompt(group.example, system)) if _is_bare(group.prompt) else group


def _first(told: tuple[int, object, object]) -> int:
    return told[0]


def bare(group: Group) -> Group:
    """The group whose pixels have shapes without numbers, and no files: whatever counts pictures counts the same."""
    prompt = group.prompt
    pixels = None if prompt.pixels is None else prompt.pixels.to("meta")
    tensors = prompt.tensors and {name: value.to("meta") for name, value in prompt.tensors.items()}
    return replace(group, prompt=replace(prompt, pixels=pixels, tensors=tensors, images=()))


def _is_bare(prompt: Prompt) -> bool:
    held = [prompt.pixels, *(prompt.tensors or {}).values()]
    return any(value is not None and value.is_meta for value in held)
