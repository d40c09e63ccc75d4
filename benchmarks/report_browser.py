"""How fast the report's rollout browser opens and scrolls: in headless Chromium, over a run made for it.

    python benchmarks/report_browser.py --json report_browser.json

Writes a run of 60 steps x 16 groups x 8 replies of about 32 tokens, with pictures of worlds, its report, and opens that
from its file. Needs Chromium and Playwright (`firsthand[dev]`). Times are wall times: let nothing else run.
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from firsthand.records import (
    Example,
    Judged,
    Reply,
    Rollout,
    Score,
    Status,
    Step,
    StopReason,
    Verdict,
    content_id,
    json_lines,
)
from firsthand.report import write_report
from firsthand.worlds import SMALL, generate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FAMILIES = ("count", "digits", "chart", "geometry")
READY = "#rollout-browser[data-ready]"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SCROLL = """async () => {
  const list = document.getElementById("rollout-list"), gaps = [];
  let last = performance.now();
  for (let i = 0; i < 120; i++) {
    list.scrollTop += i % 10 === 9 ? list.scrollHeight / 15 : 180;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  return gaps;
}"""
"""Scrolls by three rows a frame, and by a fifteenth of the list every tenth; milliseconds from frame to frame."""
MOVES = """async () => {
  const spent = [];
  for (let i = 0; i < 40; i++) {
    const began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
    await new Promise((done) => addEventListener("hashchange", done, { once: true }));
    await new Promise(requestAnimationFrame);
    spent.push(performance.now() - began);
  }
  return spent;
}"""
"""Opens the next rollout 40 times; milliseconds from the key to the frame that shows it."""


def write_training(
    root: Path,
    name: str = "grpo",
    *,
    steps: int = 60,
    prompts: int = 16,
    group: int = 8,
    seed: int = 0,
    held_out: int = 0,
) -> Path:
    """A finished run of the small model's, as training would have journalled it; nothing is trained."""
    recipe = {"name": name, "seed": seed, "start": None, "model": "small", "steps": steps}
    folder = root / f"{name}-s{seed}-{content_id(recipe)[:8]}"
    (folder / "images").mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({**recipe, "id": content_id(recipe)}))
    writer = _Writer(f"{name} {seed}")
    examples = _examples("train", steps * prompts)
    rollouts = [
        writer.rollout(step, example, group)
        for step in range(steps)
        for example in examples[step * prompts : (step + 1) * prompts]
    ]
    metrics = [
        Step(step=step, metrics={"score/mean": 0.5 + step / 200, "loss/total": 0.0}, seconds=1.0)
        for step in range(steps)
    ]
    asked = _examples("test", held_out)
    for example in (*examples, *asked):
        for picture in example.images:
            (folder / "images" / f"{picture.sha256}.png").write_bytes(picture.encoded())
    (folder / "rollouts.jsonl").write_text(json_lines(rollouts))
    (folder / "metrics.jsonl").write_text(json_lines(metrics))
    if asked:
        (folder / "scores.jsonl").write_text(json_lines(writer.score(example, group) for example in asked))
    (folder / "DONE").touch()
    return folder


def _examples(split: str, number: int) -> list[Example]:
    """As many of each family, in turn."""
    each = [generate(family, split, math.ceil(number / len(FAMILIES))) for family in FAMILIES] if number else []
    return [example for turn in zip(*each, strict=True) for example in turn][:number]


class _Writer:
    """Writes replies with tokens of the small model's tokenizer."""

    def __init__(self, seed: str) -> None:
        self._rng = random.Random(seed)
        self._tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))

    def rollout(self, step: int, example: Example, number: int) -> Rollout:
        return Rollout(
            step=step, group=tuple(_credited([self._judged(example) for _ in range(number)])), **_asked(example)
        )

    def score(self, example: Example, number: int) -> Score:
        samples = tuple(self._judged(example) for _ in range(number))
        return Score(greedy=self._judged(example), samples=samples, **_asked(example))

    def _judged(self, example: Example) -> Judged:
        right = self._rng.random() < 0.6
        answer = example.answer.text if right else str(self._rng.randrange(40))
        steps = example.traces[0].text.split("</think>")[0].removeprefix("<think>").strip()[: self._rng.randint(50, 75)]
        text = f"<think>{steps}</think><answer>{answer}</answer>"
        ids = (*self._tokenizer.encode(text, add_special_tokens=False).ids, 2)
        reply = Reply(
            text=self._tokenizer.decode(ids[:-1], skip_special_tokens=False),
            token_ids=ids,
            logprobs=tuple(-self._rng.expovariate(4) for _ in ids),
            stop=StopReason.LENGTH if self._rng.random() < 0.02 else StopReason.EOS,
        )
        why = f"equals {answer}" if right else f"expected {example.answer.text}"
        return Judged(
            reply=reply,
            verdict=Verdict(score=float(right), status=Status.OK, parsed=answer, why=why),
            reward=float(right),
        )


def _asked(example: Example) -> dict[str, Any]:
    images = tuple(picture.sha256 for picture in example.images)
    gold = example.answer.text
    return {
        "example_id": example.id,
        "family": example.family,
        "question": example.question,
        "gold": gold,
        "images": images,
    }


def _credited(group: Sequence[Judged]) -> Iterator[Judged]:
    """With advantages as GRPO has them."""
    rewards = [judged.reward or 0.0 for judged in group]
    mean, spread = statistics.fmean(rewards), statistics.pstdev(rewards)
    for judged, reward in zip(group, rewards, strict=True):
        yield judged.model_copy(update={"advantage": (reward - mean) / spread if spread else 0.0})


def measure(report: Path, times: int) -> dict[str, Any]:
    """Medians and worst over `times` openings, milliseconds."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = [_opened(browser, report) for _ in range(times)]
        version = browser.version
        browser.close()
    ready, frames, turns = (sorted(column) for column in zip(*opened, strict=True))
    return {
        "chromium": version,
        "ready_ms": {"median": statistics.median(ready), "worst": ready[-1]},
        "longest_frame_ms": {"median": statistics.median(frames), "worst": frames[-1]},
        "slowest_turn_ms": {"median": statistics.median(turns), "worst": turns[-1]},
    }


def _opened(browser: "Browser", report: Path) -> tuple[float, float, float]:
    """From the start of the navigation until the browser answers; the longest frame of scrolling; the slowest turn."""
    page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{report.as_uri()}#r/arm=0/step=0")
    page.wait_for_selector(READY)
    ready = float(page.locator(READY).get_attribute("data-ready") or "nan")
    frames, turns = page.evaluate(SCROLL), page.evaluate(MOVES)
    page.close()
    return ready, max(frames), max(turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = write_training(Path(place), steps=given.steps, prompts=given.prompts, group=given.group)
        began = time.perf_counter()
        report = write_report([run], Path(place) / "report.html", "Rollouts")
        written = time.perf_counter() - began
        tokens = [
            len(judged.reply.token_ids)
            for line in (run / "rollouts.jsonl").read_text().splitlines()
            for judged in Rollout.model_validate_json(line).group
        ]
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "load": os.getloadavg()[0],
            "replies": len(tokens),
            "tokens_per_reply": round(statistics.fmean(tokens), 1),
            "pictures": len(list((run / "images").iterdir())),
            "page_bytes": report.stat().st_size,
            "write_seconds": round(written, 2),
            **measure(report, given.times),
        }
    print(json.dumps(result, indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
