"""Examples -> judged replies, kept as they come: a crash costs the batch in flight, and nothing is asked twice."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from firsthand.errors import DataError
from firsthand.evaluation.generator import Answered, Generator
from firsthand.evaluation.protocol import Protocol
from firsthand.records import Example, Judged, Reply, Score, Verdict

BATCH = 64
"""Examples whose replies are drawn, judged and kept together; also the step of the progress bar."""

JudgeMany = Callable[[Sequence[tuple[str, Example]]], list[Verdict]]
"""The verdict on each (reply, example), in order."""
OnProgress = Callable[[int, int], None]


def score_examples(
    examples: Sequence[Example], generator: Generator, judge: JudgeMany, protocol: Protocol
) -> list[Score]:
    """Ask and judge."""
    drawn = generator.answer(examples, protocol)
    pairs = [(a.text, e) for e, answers in zip(examples, drawn, strict=True) for a in answers if isinstance(a, Reply)]
    verdicts = iter(judge(pairs))

    def judged(answer: Answered) -> Judged:
        if isinstance(answer, Verdict):
            return Judged(reply=Reply(text="", token_ids=()), verdict=answer)
        return Judged(reply=answer, verdict=next(verdicts))

    scores = []
    for example, answers in zip(examples, drawn, strict=True):
        group = tuple(judged(answer) for answer in answers)
        greedy, samples = (group[0], group[1:]) if protocol.greedy else (None, group)
        scores.append(
            Score(
                example_id=example.id,
                family=example.family,
                question=example.question,
                gold=example.answer.text,
                images=tuple(picture.sha256 for picture in example.images),
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
) -> list[Score]:
    """`score_examples` for all, in their order; batch by batch into the journal, from where an earlier run stopped.

    Batches hold examples of similar size, so that little is padded. `generator` is called when one is needed.
    Raises DataError when the journal is not one of these examples.
    """
    known: dict[str, list[Score]] = defaultdict(list)  # an example that is there twice has two replies
    for found in read_journal(journal):
        known[found.example_id].append(found)
    wanted = Counter(example.id for example in examples)
    if strangers := [name for name, found in known.items() if len(found) > wanted[name]]:
        got = f"one more to {strangers[0]}"
        raise DataError(f"{journal}: expected replies to these {len(examples)} examples, got {got}; delete it")
    left, done = _left(examples, known), sum(map(len, known.values()))
    if done and left:
        on_progress(done, len(examples))
    asks = generator() if left else None
    for first in range(0, len(left), BATCH):
        assert asks is not None
        scores = score_examples(left[first : first + BATCH], asks, judge, protocol)
        with journal.open("a") as file:
            file.write("".join(f"{score.model_dump_json()}\n" for score in scores))
        for scored in scores:
            known[scored.example_id].append(scored)
        done += len(scores)
        on_progress(done, len(examples))
    in_turn = {name: iter(found) for name, found in known.items()}
    return [next(in_turn[example.id]) for example in examples]


def _left(examples: Sequence[Example], known: Mapping[str, Sequence[Score]]) -> list[Example]:
    """The examples without a reply, those of a size together."""
    answered = Counter({name: len(found) for name, found in known.items()})
    left = []
    for example in examples:
        if answered[example.id]:
            answered[example.id] -= 1
        else:
            left.append(example)
    return sorted(left, key=_size)


def read_journal(path: Path) -> list[Score]:
    """What a journal holds; a last line that a kill has torn is cut off. Raises DataError when another line is bad."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    scores = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            scores.append(Score.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path} line {number}: expected a judged reply, got {line[:60]!r}; delete it") from error
    return scores


def _size(example: Example) -> tuple[int, int]:
    """Pixels and characters, about what a prompt's length grows with."""
    return sum(p.width * p.height for p in example.images), len(example.question)
