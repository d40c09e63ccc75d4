"""The same GRPO step in firsthand and in TRL, timed side by side on this machine's CPU.

    python benchmarks/vs_trl.py --json vs_trl.json

Two measurements, never mixed: an *update* (log-probs, backward, optimizer) on given replies, and a *full step*
(encode, sample replies of a fixed length, judge, update) on new pictures in every step. Neither is timed before one
update on the same replies has been shown to be the same update, and the work that was counted the work that was
expected. benchmarks/README.md says what was matched.
"""

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import statistics
import tempfile
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path

# Before anything imports Hugging Face's libraries: nothing is downloaded here.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import transformers
from counters import Counts, Operations, counting, expected_ours, expected_trl
from equality import Agreement, Frozen, compare, freeze
from our_side import Ours
from timing import Pairs, alternate, seconds_of
from trl_side import Trl, repeated, replies_only_head
from workload import WARM_UP, WORLDS, Settings, examples_of

from firsthand.errors import ParityError

PACKAGES = ("firsthand", "trl", "transformers", "torch", "accelerate", "datasets", "numpy", "pillow")


def main(argv: list[str] | None = None) -> None:
    """Measure and write the JSON file. Raises ParityError when the two sides do not do the same work."""
    path, settings = _arguments(argv)
    warnings.filterwarnings("ignore", category=FutureWarning)  # TRL sets arguments that transformers renames
    transformers.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    torch.set_num_threads(settings.threads)
    load_before = os.getloadavg()
    with replies_only_head(), tempfile.TemporaryDirectory() as folder:
        tuning = tune_trl(settings, folder)
        forwards = min(tuning, key=lambda parts: tuning[parts])
        agreement, update = measure_update(settings, folder, forwards)
        counts, full = measure_full(settings, folder, forwards)
        arithmetic = operations(settings, folder)
    report = {
        "full_step_ratio": full.ratio,
        "full_step_ci95": full.ci95,
        "update_ratio": update.ratio,
        "update_ci95": update.ci95,
        "operations": asdict(arithmetic),
        "ours": _side(0, counts[0], update, full),
        "trl": _side(1, counts[1], update, full),
        "equality": asdict(agreement),
        "trl_update_seconds_by_forwards": tuning,
        "settings": asdict(settings) | _surroundings(load_before),
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nequal updates: {asdict(agreement)}")
    print(
        f"operations, TRL's by ours: update {arithmetic.update_ratio:.2f}, full step {arithmetic.full_step_ratio:.2f}"
    )
    for name, pairs in (("update", update), ("full step", full)):
        low, high = pairs.ci95
        ours, theirs = pairs.medians
        print(f"{name}: {pairs.ratio:.2f}x (95 % {low:.2f} to {high:.2f}); ours {ours:.3f} s, TRL {theirs:.3f} s")


def tune_trl(settings: Settings, folder: str) -> dict[int, float]:
    """Seconds of TRL's update when it runs as 1, 2, 4 or 8 forwards: it is measured with the fastest.

    Ours runs as the package does by default (`tokens_per_forward`), which was chosen in the same way.
    """
    recipe = settings.recipe(Path(folder))
    examples = recipe.data.load()
    found = {}
    for forwards in (1, 2, 4, 8):
        theirs = Trl(recipe, examples, folder, forwards)
        inputs = theirs.replay(repeated(examples_of(0, examples, recipe), settings.group))
        theirs.update(inputs)
        found[forwards] = statistics.median(seconds_of(partial(theirs.update, inputs)) for _ in range(3))
    return found


def measure_update(settings: Settings, folder: str, forwards: int) -> tuple[Agreement, Pairs]:
    """Updates on one batch of given replies. Raises ParityError unless both sides compute the same one."""
    ours, theirs, frozen = frozen_sides(settings, folder, forwards)
    agreement = compare(ours, theirs, frozen)
    agreement.check()
    actions = (lambda step: partial(ours.update, frozen.ours), lambda step: partial(theirs.update, frozen.trl))
    alternate(*actions, range(WARM_UP))
    return agreement, alternate(*actions, range(settings.steps))


def frozen_sides(settings: Settings, folder: str, forwards: int = 1) -> tuple[Ours, Trl, Frozen]:
    """Both sides with the same weights and the same log-prob function, and one batch of given replies for both."""
    recipe = settings.recipe(Path(folder))
    examples = recipe.data.load()
    ours, theirs = Ours(recipe, examples), Trl(recipe, examples, folder, forwards)
    ours.unrestrict()
    return ours, theirs, freeze(ours, theirs, examples_of(0, examples, recipe))


def measure_full(settings: Settings, folder: str, forwards: int) -> tuple[tuple[Counts, Counts], Pairs]:
    """Full steps, every one on new pictures. Raises ParityError unless the work counted is the work expected."""
    recipe = settings.recipe(Path(folder))
    examples = recipe.data.load()
    ours, theirs = Ours(recipe, examples), Trl(recipe, examples, folder, forwards)
    counts = count_full_step(ours, theirs, step=0)
    # TRL's rows are made ahead of time, as worker processes of its data loader would make them.
    actions = (lambda step: partial(ours.full_step, step), lambda step: partial(theirs.full_step, theirs.rows(step)))
    alternate(*actions, range(1, WARM_UP))
    return counts, alternate(*actions, range(WARM_UP, WARM_UP + settings.steps))


def operations(settings: Settings, folder: str) -> Operations:
    """What a step's arithmetic would make of it, by formula."""
    recipe = settings.recipe(Path(folder))
    examples = recipe.data.load()
    ours = Ours(recipe, examples)
    prompts = [ours.encoder.prompt(example) for example in examples_of(0, examples, recipe)]
    frozen = recipe.trainable == "language"
    return Operations.of(ours.policy.flops, prompts, settings.group, settings.reply_tokens, frozen=frozen)


def count_full_step(ours: Ours, theirs: Trl, step: int) -> tuple[Counts, Counts]:
    """One full step of each side, counted. Raises ParityError unless the counts are those of the formulas."""
    with counting(ours.policy.model, ours.image_processor) as our_counts:
        batch = ours.full_step(step)
    with counting(theirs.model, theirs.processor.image_processor) as their_counts:
        theirs.full_step(theirs.rows(step))
    expected = expected_ours(batch, ours.recipe), expected_trl(batch)
    if (our_counts, their_counts) != expected:
        raise ParityError(f"expected the work {expected}, got {(our_counts, their_counts)}; the formulas are wrong")
    return our_counts, their_counts


def _side(place: int, counts: Counts, update: Pairs, full: Pairs) -> dict[str, object]:
    return {
        "update_seconds": update.medians[place],
        "full_step_seconds": full.medians[place],
        "counters_of_a_full_step": asdict(counts),
        "all_update_seconds": [pair[place] for pair in update.seconds],
        "all_full_step_seconds": [pair[place] for pair in full.seconds],
    }


def _surroundings(load_before: tuple[float, ...]) -> dict[str, object]:
    return {
        "worlds": WORLDS,
        "warm_up": WARM_UP,
        "dtype": "float32",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads_used": torch.get_num_threads(),
        "load_before": load_before,
        "load_after": os.getloadavg(),
    }


def _arguments(argv: list[str] | None) -> tuple[Path, Settings]:
    parser = argparse.ArgumentParser(description="One GRPO step in firsthand and in TRL, timed side by side.")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the result goes")
    for name, default, text in (
        ("steps", Settings.steps, "timed steps of each side, in each measurement"),
        ("prompts", Settings.prompts, "prompts of a step"),
        ("group", Settings.group, "replies per prompt"),
        ("reply-tokens", Settings.reply_tokens, "length of every reply"),
        ("threads", Settings.threads, "torch threads"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument("--image-tokens", type=int, help="scale pictures to about so many (default: as they are)")
    parser.add_argument(
        "--trainable",
        choices=("language", "all"),
        default=Settings.trainable,
        help="language freezes the vision tower on both sides (default: %(default)s)",
    )
    given = vars(parser.parse_args(argv))
    path = given.pop("json")
    return path, Settings(**given)


if __name__ == "__main__":
    main()
