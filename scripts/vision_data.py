"""Pictures with turns about them, as scripts/pretrain_vision.py learns from them: the worlds, and easy-VQA.

A row is one picture, encoded once, and several turns about it that do not see each other.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image
from pretraining import DIRECTLY, STEPS, Turn, conversation, styled
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from firsthand import worlds
from firsthand.policy.packing import PrefixGroup
from firsthand.processor import Prompt
from firsthand.processor.picture_tokens import image_processor
from firsthand.worlds import grid
from firsthand.worlds.traces import direct, stepwise
from firsthand.worlds.world import Scene

EASY_VQA = "easy-vqa"
MIX = {"count": 0.42, "digits": 0.19, "chart": 0.20, "geometry": 0.14, EASY_VQA: 0.05}
"""What a row shows. The grid scenes of `count` serve `compare`, too."""
ASKED = {"count": ("count", "compare"), "digits": ("digits",), "chart": ("chart",), "geometry": ("geometry",)}
"""What is asked about a world's scenes."""
SHAPES = {"circle", "rectangle", "triangle"}
DESCRIBE = "Describe the image."


def said(answer: str) -> str:
    """A reply that is an answer alone."""
    return f"<answer>{answer}</answer>"


@dataclass(frozen=True)
class EasyPicture:
    """A picture of easy-VQA (github.com/vzhou842/easy-VQA, MIT): one shape of one colour."""

    path: Path
    questions: tuple[Turn, ...]
    caption: str | None
    """As `red circle`; None where its questions do not tell both."""


@cache
def easy_pictures(part: str) -> list[EasyPicture]:
    """The pictures of train, validation (a twentieth of the package's training part), or test, in a fixed order."""
    import easy_vqa

    texts, answers, numbers = easy_vqa.get_test_questions() if part == "test" else easy_vqa.get_train_questions()
    paths = easy_vqa.get_test_image_paths() if part == "test" else easy_vqa.get_train_image_paths()
    asked: dict[int, list[Turn]] = defaultdict(list)
    for text, answer, number in zip(texts, answers, numbers, strict=True):
        asked[number].append((text, answer))
    parts = {"train": range(1, 20), "validation": (0,), "test": range(20)}[part]
    return [
        EasyPicture(Path(paths[number]), tuple(asked[number]), _caption(asked[number]))
        for number in sorted(asked)
        if number % 20 in parts
    ]


def _caption(turns: Sequence[Turn]) -> str | None:
    named = {answer for _, answer in turns} - {"yes", "no"}
    shapes, colours = named & SHAPES, named - SHAPES
    return f"{min(colours)} {min(shapes)}" if shapes and colours else None


class Rows:
    """Pictures and turns as groups of tokens, for one tokenizer and one size of pictures."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, side: int, image_tokens: int) -> None:
        mark = "<fake_token_around_image>"
        opening = f"<|im_start|>user\n{mark}<global-img>{'<image>' * image_tokens}{mark}"
        self._prompt = tuple(tokenizer.encode(opening))
        self._tokenizer = tokenizer
        self._processor = image_processor(side)

    def group(self, picture: Image.Image, turns: Sequence[Turn], name: str) -> PrefixGroup:
        """A picture, and what is asked and said about it."""
        pixels = self._processor(images=[[picture.convert("RGB")]], return_tensors="pt")["pixel_values"]
        return conversation(
            self._tokenizer, Prompt(name, self._prompt, None, None, tensors={"pixel_values": pixels}), turns
        )


@dataclass(frozen=True)
class Batches(Dataset[list[PrefixGroup]]):
    """What a stage learns from: batch `step` depends on nothing but the seed, the stage's name and the step."""

    rows: Rows
    stage: str
    seed: int
    pictures: int
    """Of a batch."""
    questions: int
    """Of a picture, beside its description."""

    def __getitem__(self, step: int) -> list[PrefixGroup]:
        draws = [random.Random(f"{self.stage} {self.seed} {step} {row}") for row in range(self.pictures)]
        return [self._group(rng, step * self.pictures + row) for row, rng in enumerate(draws)]

    def _group(self, rng: random.Random, index: int) -> PrefixGroup:
        family = rng.choices(list(MIX), list(MIX.values()))[0]
        if family == EASY_VQA:
            return self._easy(rng, index)
        level = rng.choice(("easy", "hard"))
        scene, _ = worlds.scene(family, "train", _number(f"{self.stage} {self.seed}"), index, level=level)
        described = grid.ask_caption(rng, scene).text, said(scene.caption)
        asked = [worlds.WORLDS[rng.choice(ASKED[family])].ask(rng, scene) for _ in range(self.questions)]
        return self.rows.group(scene.picture, [described, *(styled(rng, question) for question in asked)], str(index))

    def _easy(self, rng: random.Random, index: int) -> PrefixGroup:
        pictures = easy_pictures("train")
        if not self.questions:
            pictures = [picture for picture in pictures if picture.caption]
        picture = rng.choice(pictures)
        turns = [(rng.choice((DESCRIBE, "What is in the image?")), said(picture.caption))] if picture.caption else []
        asked = rng.sample(picture.questions, min(self.questions, len(picture.questions)))
        turns += [(question, said(answer)) for question, answer in asked]
        return self.rows.group(Image.open(picture.path), turns, str(index))


def loaded(batches: Batches, first: int, last: int, workers: int) -> Iterator[list[PrefixGroup]]:
    """The batches of these steps, drawn in the background: none waits for its pictures."""
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(first, last),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            collate_fn=_as_it_is,
        )
    )


def held_out(rows: Rows, split: str, scenes: int, *, questions: bool) -> tuple[list[PrefixGroup], list[str]]:
    """Scenes of another split, with the names of what is asked: `captions/count/easy`, `steps/compare/hard`."""
    groups: list[PrefixGroup] = []
    names: list[str] = []
    for family in ASKED:
        for index in range(2 * scenes):
            level = ("easy", "hard")[index % 2]
            scene, rng = worlds.scene(family, split, 7, index, level=level)
            turns, called = _asked(rng, family, scene, questions=questions)
            groups.append(rows.group(scene.picture, turns, str(index)))
            names += [f"{name}/{level}" for name in called]
    for picture in easy_pictures(split)[:scenes]:
        turns = [(DESCRIBE, said(picture.caption))] if picture.caption else []
        names += [f"captions/{EASY_VQA}"] * len(turns)
        asked = picture.questions[:2] if questions or not turns else ()
        names += [f"direct/{EASY_VQA}"] * len(asked)
        turns += [(question, said(answer)) for question, answer in asked]
        groups.append(rows.group(Image.open(picture.path), turns, picture.path.name))
    return groups, names


def _asked(rng: random.Random, family: str, scene: Scene, *, questions: bool) -> tuple[list[Turn], list[str]]:
    turns, names = [(DESCRIBE, said(scene.caption))], [f"captions/{family}"]
    for world in ASKED[family] if questions else ():
        question = worlds.WORLDS[world].ask(rng, scene)
        turns += [(question.text + STEPS, stepwise(question)), (question.text + DIRECTLY, direct(question))]
        names += [f"steps/{world}", f"direct/{world}"]
    return turns, names


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _as_it_is(batch: list[PrefixGroup]) -> list[PrefixGroup]:
    return batch
