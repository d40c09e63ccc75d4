"""Easy-VQA (github.com/vzhou842/easy-VQA, MIT) as a data set of one's own: the wheel's files -> JSON Lines.

    pip install easy-vqa==1.0
    python examples/easy-vqa/prepare.py                      writes easy-vqa/train.jsonl and easy-vqa/test.jsonl
    firsthand study examples/easy-vqa/easy-vqa.yaml           trains the small model, evaluates before and after

5,000 pictures of one shape, 48,248 questions, answers of one word: yes, no, a shape or a colour. The package says which
questions are for training and which for the test; no picture is in both. Rows are shuffled with a fixed seed, so that
the first N of a file are a fair sample: its own order goes by picture.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import easy_vqa

PARTS = {
    "train": (easy_vqa.get_train_questions, easy_vqa.get_train_image_paths),
    "test": (easy_vqa.get_test_questions, easy_vqa.get_test_image_paths),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both parts. Pictures stay where pip put them; rows hold their paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("easy-vqa"))
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for part, (questions, pictures) in PARTS.items():
        paths = pictures()
        # The demonstration is the answer itself: there are no worked steps to imitate.
        rows = [
            {"question": text, "answer": answer, "image": paths[number], "trace": f"<answer>{answer}</answer>"}
            for text, answer, number in zip(*questions(), strict=True)
        ]
        random.Random(0).shuffle(rows)
        file = out / f"{part}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        print(f"{file}: {len(rows):,} questions")


if __name__ == "__main__":
    main()
