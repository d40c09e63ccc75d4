"""Examples -> judged replies, kept as they come: a crash costs the batch in flight, and nothing is asked twice."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from firsthand.batched import batched
from firsthand.errors import DataError
from firsthand.evaluation.generator import Generator
from firsthand.evaluation.protocol import Protocol
from firsthand.files import append, write_atomically
from firsthand.records import Example, Judged, Reply, Score, Verdict, json_lines
from firsthand.worlds.agreement import with_agreement

BATCH = 64
"""Examples whose replies are drawn, judged and kept together; also the step of the progress bar."""

JudgeMany = Callable[[Sequence[tuple[str, Example]]], list[Verdict]]
"""The verdict on each (reply, example), in order."""
OnProgress = Callable[[int, int], None]


def score_examples(
    examples: Sequence[Example],
    generator: Generator,
    judge: JudgeMany,
    protocol: Protocol,
    shown: Sequence[Example] | None = None,
) -> list[Score]:
    """Ask and judge. `shown` are the examples as a blind model is shown them, and judged as they are."""
    shown = examples if shown is None else shown
    drawn = generator.answer(shown, protocol)
    pairs = [(a.text, e) for e, answers in zip(examples, drawn, strict=True) for a in answers if isinstance(a, Reply)]
    verdicts = iter(judge(pairs))
    nothing = Reply(text="", token_ids=())
    scores = []
    for example, seen, answers in zip(examples, shown, drawn, strict=True):
        group = tuple(
            Judged(reply=nothing, verdict=a)
            if isinstance(a, Verdict)
            else Judged(reply=a, verdict=with_agreement(next(verdicts), a.text, example, protocol.answer))
            for a in answers
        )
        greedy, samples = (group[0], group[1:]) if protocol.greedy else (None, group)
        scores.append(
            Score(
                example_id=example.id,
                family=example.family,
                question=example.question,
                gold=example.answer.text,
                images=tuple(picture.sha256 for picture in seen.images),
                greedy=greedy,
                samples=samples,
            )
        )
    return scores


def score_all(
    examples: Sequence[Example],
    generator: Callable[[], Generator],
    judge: JudgeMany,
    protocol: Protocol,
    journal: Path,
    on_progress: OnProgress,
    shown: Sequence[Example] | None = None,
) -> list[Score]:
    """`score_examples` for all, in their order; batch by batch into the journal, from where an earlier run stopped.

    Batches hold examples of similar size, so that little is padded. `generator` is called when one is needed.
    Raises DataError when the journal is not one of these examples.
    """
    known: dict[str, list[Score]] = defaultdict(list)
    for found in read_journal(journal):
        known[found.example_id].append(found)
    scores = [known[e.id].pop(0) if known[e.id] else None for e in examples]  # one that is there twice has two replies
    if strangers := [name for name, found in known.items() if found]:
        got = f"one more to {strangers[0]}"
        raise DataError(f"{journal}: expected replies to these {len(examples)} examples, got {got}; delete it")
    left = [i for i, score in enumerate(scores) if score is None]
    shown = examples if shown is None else shown
    left.sort(key=lambda i: _size(shown[i]))
    done = len(examples) - len(left)
    if done and left:
        on_progress(done, len(examples))
    asks = generator() if left else None
    for places in batched(left, BATCH):
        assert asks is not None
        parts = [[some[i] for i in places] for some in (examples, shown)]
        batch = score_examples(parts[0], asks, judge, protocol, parts[1])
        append(journal, json_lines(batch))
        for i, score in zip(places, batch, strict=True):
            scores[i] = score
        done += len(batch)
        on_progress(done, len(examples))
    return [score for score in scores if score is not None]


def _size(example: Example) -> tuple[int, int]:
    """Pixels and characters, about what a prompt's length grows with."""
    return sum(p.width * p.height for p in example.images), len(example.question)


def read_journal(path: Path) -> list[Score]:
    """What a journal holds; a last line that a kill has torn is cut off. Raises DataError when another line is bad."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        write_atomically(path, whole)
    scores = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            scores.append(Score.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path} line {number}: expected a judged reply, got {line[:60]!r}; delete it") from error
    return scores
