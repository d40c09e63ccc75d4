"""Four tasks for a model that sees, in equal parts: counting, charts, geometry, and Easy-VQA's questions.

    pip install easy-vqa==1.0
    python examples/worlds-vlm/prepare.py                      writes worlds-vlm/{train,validation,test}.parquet
    firsthand study examples/worlds-vlm/study.yaml --seeds 0 1 2

The first three are rendered. Easy-VQA (github.com/vzhou842/easy-VQA, MIT) shows one shape of one colour; it asks about
that, and it has demonstrations here: the steps say what is seen. Its test part is the package's own; validation is a
twentieth of its training part, with pictures that train has not. Half of its questions are answered by a word, a
quarter by yes and a quarter by no: no guess is right of more.
"""

import argparse
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import easy_vqa

from firsthand.data import write_examples
from firsthand.records import Example, Picture, Text
from firsthand.worlds import generate
from firsthand.worlds.traces import expert_trace, plain_trace
from firsthand.worlds.world import Question

RENDERED = ("count", "chart", "geometry")
SHAPES = {"circle", "rectangle", "triangle"}
PARTS = {"train": (512, 11), "validation": (100, 13), "test": (400, 22)}
"""How many examples, and the seed."""
ANSWERS = ("word", "yes", "word", "no")
"""Of Easy-VQA's questions, in turn."""


def easy_examples(part: str, number: int, seed: int, shown: set[str]) -> list[Example]:
    """So many questions of Easy-VQA, no two about one picture, and none about one of `shown`, to which these go.

    Some of its pictures are the same, byte for byte.
    """
    rng = random.Random(f"easy-vqa {part} {seed}")
    pictures = list(_pictures(part))
    rng.shuffle(pictures)
    found: list[Example] = []
    for path, asked in pictures:
        if len(found) == number:
            break
        kind = ANSWERS[len(found) % len(ANSWERS)]
        fitting = [(text, said) for text, said in asked if (said if said in ANSWERS else "word") == kind]
        seen = _seen(asked)
        if seen and fitting:
            example = _example(path, *rng.choice(fitting), seen, rng)
            if (hashed := example.images[0].sha256) not in shown:
                shown.add(hashed)
                found.append(example)
    return found


def distinct(examples: list[Example], number: int) -> list[Example]:
    """The first ones that differ: of small figures there are not many, and some are drawn twice."""
    return list({example.id: example for example in examples}.values())[:number]


def _pictures(part: str) -> Iterator[tuple[Path, list[tuple[str, str]]]]:
    """Each picture of a part, and what is asked about it."""
    of_test = part == "test"
    texts, answers, numbers = easy_vqa.get_test_questions() if of_test else easy_vqa.get_train_questions()
    paths = easy_vqa.get_test_image_paths() if of_test else easy_vqa.get_train_image_paths()
    asked: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for text, answer, number in zip(texts, answers, numbers, strict=True):
        asked[number].append((text, answer))
    for number in sorted(asked):
        if of_test or (number % 20 == 0) is (part == "validation"):
            yield Path(paths[number]), asked[number]


def _seen(asked: Sequence[tuple[str, str]]) -> str | None:
    """`red circle`, where the questions about a picture tell both."""
    named = {answer for _, answer in asked} - {"yes", "no"}
    shapes, colours = named & SHAPES, named - SHAPES
    return f"{min(colours)} {min(shapes)}" if shapes and colours else None


def _example(path: Path, text: str, answer: str, seen: str, rng: random.Random) -> Example:
    data = path.read_bytes()
    question = Question(text, Text(value=answer), (seen,), answer)
    return Example(
        question=text,
        images=(Picture(sha256=hashlib.sha256(data).hexdigest(), width=64, height=64, data=data),),
        answer=question.answer,
        family="easy-vqa",
        traces=(plain_trace(question), expert_trace(rng, question)),
        scene=seen,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("worlds-vlm"))
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    shown: set[str] = set()
    for part, (number, seed) in PARTS.items():
        share = number // (len(RENDERED) + 1)
        drawn = [distinct(generate(name, part, 2 * share, seed=seed), share) for name in RENDERED]
        rows = zip(*drawn, easy_examples(part, share, seed, shown), strict=True)
        file = out / f"{part}.parquet"
        write_examples(chain.from_iterable(rows), file)
        print(f"{file}: {number} questions")


if __name__ == "__main__":
    main()
