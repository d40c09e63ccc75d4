"""Worked steps for some tasks of reasoning-gym, in two styles of ordinary English.

*plain*: the short steps. *expert*: longer, one small step at a time, and then the whole again in another way before
the answer is given. Both are right at every step; the expert of the rendered worlds (worlds/traces.py) also errs, and
notices it. Where the steps do not lead to the environment's own answer, there is no demonstration.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from firsthand.records import Environment, Trace

_OPENINGS = (
    "Okay, let me work through this one step at a time.",
    "Let me think about this carefully.",
    "Alright, I will take this slowly, so that nothing is missed.",
)
_ASIDES = ("So far, so good.", "Let me go on.", "Hmm, what comes now?")
_CHECKS = (
    "Before I answer, let me check that in another way.",
    "Let me make sure that this is right.",
    "I want to be certain, so I check it once more.",
)
_CLOSINGS = ("Both ways agree.", "That is the same, so I am confident.", "The check agrees with what I found.")


class _Worked(NamedTuple):
    """A question that has been worked out. Steps are sentences."""

    found: str
    """The answer, as the environment writes it."""
    plain: Sequence[str]
    expert: Sequence[str]
    check: Sequence[str]


def demonstrate(gold: Environment, question: str) -> tuple[Trace, ...]:
    """A `plain` and an `expert` demonstration of how the question is answered; none where nobody knows the steps."""
    work = _WORKED.get((gold.environment, gold.task))
    if work is None:
        return ()
    worked = work(json.loads(gold.entry)["metadata"])
    if worked is None or worked.found != gold.value:
        return ()
    rng = random.Random(question)
    expert = [rng.choice(_OPENINGS), *worked.expert[:1]]
    for step in worked.expert[1:]:
        expert += [rng.choice(_ASIDES)] * (rng.random() < 0.2) + [step]
    expert += [rng.choice(_CHECKS), *worked.check, rng.choice(_CLOSINGS)]
    return tuple(
        Trace(style=style, text=f"<think>{' '.join(steps)}</think><answer>{gold.value}</answer>")
        for style, steps in (("plain", worked.plain), ("expert", expert))
    )


def _leg_counting(metadata: dict[str, Any]) -> _Worked | None:
    animals: dict[str, int] = metadata["animals"]
    if not animals.keys() <= _LEGS.keys():
        return None
    plain, expert, total = list[str](), list[str](), 0
    for i, (animal, number) in enumerate(animals.items()):
        legs, product = _LEGS[animal], number * _LEGS[animal]
        so_far = [f"{total} + {product} = {total + product}"] if i else []
        each = f"{_article(animal)} {animal} has {legs} legs"
        plain.append(f"{each}: {' and '.join([f'{number} x {legs} = {product}', *so_far])}.")
        lead = "First, the" if i == 0 else "Next, the"
        expert.append(
            f"{lead} {animal}: {each.lower()}, and there are {number} of them, so {number} x {legs} = {product}."
        )
        expert += [f"The total so far is {step}." for step in so_far]
        total += product
    by_legs: dict[int, int] = {}
    check = []
    for legs in sorted({_LEGS[animal] for animal in animals}):
        numbers = [number for animal, number in animals.items() if _LEGS[animal] == legs]
        by_legs[legs] = sum(numbers)
        check.append(f"With {legs} legs: {_sum_of(numbers)}, and {sum(numbers)} x {legs} = {sum(numbers) * legs}.")
    check.append(f"Together: {_sum_of([number * legs for legs, number in by_legs.items()])}.")
    return _Worked(str(total), plain, expert, check)


def _chain_sum(metadata: dict[str, Any]) -> _Worked:
    first, *rest = metadata["expression"].split()
    terms = [(sign, int(number)) for sign, number in zip(rest[::2], rest[1::2], strict=True)]
    plain, expert, total = list[str](), [f"I start with {first} and go from left to right."], int(first)
    for sign, number in terms:
        plain.append(f"{total} {sign} {number} = {_apply(total, sign, number)}.")
        parts = _by_places(number)
        if len(parts) > 1:
            expert.append(f"The next is {sign} {number}, which is {_joined(map(str, parts))}.")
        for part in parts:
            expert.append(f"{total} {sign} {part} = {_apply(total, sign, part)}.")
            total = _apply(total, sign, part)
    added = [int(first), *(number for sign, number in terms if sign == "+")]
    taken = [number for sign, number in terms if sign == "-"]
    check = [f"What is added: {_sum_of(added)}."]
    if taken:
        check.append(f"What is taken away: {_sum_of(taken)}.")
        check.append(f"The difference: {sum(added)} - {sum(taken)} = {sum(added) - sum(taken)}.")
    return _Worked(str(total), plain or [f"There is one number, {first}."], expert, check)


def _letter_counting(metadata: dict[str, Any]) -> _Worked:
    letter = metadata["target_letter"]
    words: list[tuple[str, int]] = [(word, word.lower().count(letter)) for word in metadata["span"]]
    having = [(word, number) for word, number in words if number]
    numbers = [number for _, number in having]
    plain = [f'"{word}" has {number}.' for word, number in words]
    expert, total = [f'I am looking for the letter "{letter}", in capitals too.'], 0
    for word, number in words:
        expert.append(f'"{word}" is spelled {", ".join(word.lower())}: it has {number}.')
        if number:
            expert.append(f"So far: {total} + {number} = {total + number}.")
            total += number
    check = [f'The words with the letter are {_joined(f""""{word}" ({number})""" for word, number in having)}.']
    return _Worked(
        str(total), [*plain, f"Together: {_sum_of(numbers)}."], expert, [*check, f"Together: {_sum_of(numbers)}."]
    )


def _spell_backward(metadata: dict[str, Any]) -> _Worked:
    word = metadata["word"]
    back = word[::-1]
    plain = [f"The letters of {word} are {', '.join(word)}.", f"From the last to the first they are {', '.join(back)}."]
    expert = [f"First I number the letters of {word}: {', '.join(f'{i} is {c}' for i, c in enumerate(word, 1))}."]
    expert.append("Now I go from the last letter to the first.")
    expert += [f"Letter {len(word) - i} is {c}, which makes {back[: i + 1]}." for i, c in enumerate(back)]
    check = [f"The letters of {back} are {', '.join(back)}.", f"Read from its end, {back} is {word} again."]
    return _Worked(back, plain, expert, check)


def _number_sorting(metadata: dict[str, Any]) -> _Worked:
    left: list[str] = list(metadata["original_numbers"])
    pick, end, next_to = (
        (min, "smallest", "above") if metadata["direction"] == "ascending" else (max, "largest", "below")
    )
    order, plain, expert = list[str](), list[str](), [f"I look for the {end} number again and again."]
    while left:
        one = pick(left, key=Decimal)
        if len(left) > 1:
            plain.append(f"The {end} of {', '.join(left)} is {one}.")
            expert.append(f"There are {len(left)} numbers left: {', '.join(left)}. The {end} of them is {one}.")
        else:
            plain.append(f"The last is {one}.")
            expert.append(f"One number is left: {one}.")
        left.remove(one)
        order.append(one)
    check = [
        f"{other} is {next_to if Decimal(one) != Decimal(other) else 'equal to'} {one}."
        for one, other in pairwise(order)
    ]
    return _Worked(str(order), plain, expert, [*check, f"There were {len(order)} numbers, and there are {len(order)}."])


_WORKED: dict[tuple[str, str], Callable[[dict[str, Any]], _Worked | None]] = {
    ("reasoning-gym", "leg_counting"): _leg_counting,
    ("reasoning-gym", "chain_sum"): _chain_sum,
    ("reasoning-gym", "letter_counting"): _letter_counting,
    ("reasoning-gym", "spell_backward"): _spell_backward,
    ("reasoning-gym", "number_sorting"): _number_sorting,
}
_LEGS = {
    **dict.fromkeys(("snake", "sea slug", "jellyfish", "flatworm", "leech"), 0),
    **dict.fromkeys(("chicken", "bird", "human", "duck"), 2),
    **dict.fromkeys(("dog", "cat", "cow", "horse", "lion", "elephant", "giraffe", "tiger", "deer", "sheep"), 4),
    "starfish": 5,
    **dict.fromkeys(("insect", "ant", "butterfly", "beetle", "bee", "wasp", "grasshopper", "cricket", "cockroach"), 6),
    **dict.fromkeys(("praying mantis", "firefly"), 6),
    **dict.fromkeys(("spider", "scorpion"), 8),
    **dict.fromkeys(("crab", "lobster", "shrimp"), 10),
    "woodlouse": 14,
}
"""As the task counts them; a starfish's arms are legs there."""


def _article(noun: str) -> str:
    return "An" if noun[0] in "aeiou" else "A"


def _apply(total: int, sign: str, number: int) -> int:
    return total + number if sign == "+" else total - number


def _by_places(number: int) -> list[int]:
    """347 -> 300, 40 and 7; 0 -> 0. A negative number stays whole."""
    digits = str(number)
    parts = [int(digit) * 10 ** (len(digits) - i) for i, digit in enumerate(digits, 1)] if number > 0 else []
    return [part for part in parts if part] or [number]


def _sum_of(numbers: Sequence[int]) -> str:
    """`3 + 4 = 7, 7 + 1 = 8`; of one number the number."""
    totals = list(accumulate(numbers))
    steps = [f"{a} + {b} = {a + b}" for a, b in zip(totals, numbers[1:], strict=False)]
    return ", ".join(steps) or str(numbers[0])


def _joined(texts: Iterable[str]) -> str:
    """`a, b and c`"""
    *others, last = texts
    return f"{', '.join(others)} and {last}" if others else last
