"""The nouns of firsthand: frozen, JSON round-trip, identified by their content.

Everything that crosses from one stage to the next is one of these records, written to disk, so that every stage
reruns alone and a newcomer can open any hand-over. This module imports nothing of ours but the errors,
and no torch.

    Example   a visual question with its images and its typed gold answer
    Answer    Digit | Choice | Letters | Expression | Box | Text | OpenEnded | Environment: the kind decides which
              verifier scores
    Trace     a demonstration of how to answer (its text ends in an answer block)
    Reply     what the policy wrote: token ids, their sampling log-probs, why it stopped
    Verdict   the score of one reply, what was parsed from it, and why it got that score
    Rollout   one example and its group of judged replies, as a training step saw them
    Score     one example and its judged replies, as an evaluation saw them
    Unit      what a benchmark's number is the mean of
    Step      the measurements of one training step

Unmeasured values are absent (None, or a missing key); they are never 0.
"""

import hashlib
import io
import json
import threading
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from firsthand.errors import DataError, excerpt

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Kind = Literal["digit", "choice", "letters", "math", "box", "text", "open", "environment"]
"""The kinds of answer, in the words of data files: VLAA-Thinking's five (arXiv:2504.11468), several letters, short
words, which are the commonest answers of visual questions, and what an environment's own scorer judges."""
KINDS: tuple[Kind, ...] = get_args(Kind)
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
_PILLOW = threading.Lock()
_Line = TypeVar("_Line", bound="Record")


class Record(BaseModel):
    """Base of every record: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class GrownRecord(Record):
    """A record that has more fields than it once had: these are absent where they say nothing new.

    Ids are hashes of what is written, so a later version may add a field without disowning what is there.
    """

    _later: ClassVar[frozenset[str]] = frozenset()
    """The fields that were added, each with a default that means what was meant before."""

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialise(self)
        fields = type(self).model_fields
        silent = {name for name in self._later if getattr(self, name) == fields[name].default}
        return {name: value for name, value in content.items() if name not in silent}


class Digit(GrownRecord):
    """A number, written with digits: `7`, `-3`, `2.5`."""

    _later = frozenset(("tolerance",))
    kind: Literal["digit"] = "digit"
    value: str
    tolerance: float | None = Field(default=None, ge=0)
    """The share of itself by which a reply may differ from it; None takes what the reward says."""

    @property
    def text(self) -> str:
        """The gold answer as a reader would write it."""
        return self.value


class Choice(Record):
    """The letter of one of several options."""

    kind: Literal["choice"] = "choice"
    letter: str
    options: tuple[str, ...] = ()
    """The options' texts in letter order; empty when the data only gives the letter."""

    @property
    def text(self) -> str:
        return self.letter


class Letters(Record):
    """The letters of all options that are right, one or several."""

    kind: Literal["letters"] = "letters"
    letters: str = Field(pattern=r"^[A-Z]+$")
    """Each once and in order: `AC`."""
    options: tuple[str, ...] = ()
    """As those of a choice."""

    @property
    def text(self) -> str:
        return ", ".join(self.letters)


class Expression(Record):
    """A mathematical expression in LaTeX or plain notation, compared by value."""

    kind: Literal["math"] = "math"
    latex: str

    @property
    def text(self) -> str:
        return self.latex


Corners = tuple[float, float, float, float]
"""A box as `(x1, y1, x2, y2)`; x grows to the right and y down. Normalised boxes lie in [0, 1]."""
Coordinates = Literal["auto", "pixels", "shares", "thousand"]
"""What a box is measured in: pixels, shares of the picture's sides (0 to 1), or thousandths of them (0 to 1000, as
Qwen2-VL and Qwen3-VL write). `auto` takes numbers as they stand."""


class Box(GrownRecord):
    """A bounding box, or several: `xyxy` is one `(x1, y1, x2, y2)`, or a tuple of them."""

    _later = frozenset(("size", "coordinates"))
    kind: Literal["box"] = "box"
    xyxy: Corners | Annotated[tuple[Corners, ...], Field(min_length=1)]
    size: tuple[int, int] | None = None
    """Width and height of the picture in pixels: with it, normalised and absolute coordinates can be converted."""
    coordinates: Coordinates | None = None
    """What the boxes of replies are measured in; None takes what the reward says."""

    @property
    def boxes(self) -> tuple[Corners, ...]:
        """All boxes, one or several."""
        several = tuple(box for box in self.xyxy if isinstance(box, tuple))
        return several or (cast(Corners, self.xyxy),)

    @property
    def text(self) -> str:
        each = ["[" + ", ".join(f"{v:g}" for v in box) + "]" for box in self.boxes]
        return each[0] if len(each) == 1 else "[" + ", ".join(each) + "]"


class Text(Record):
    """A word or a few, compared after the normalisation of VQA's evaluation."""

    kind: Literal["text"] = "text"
    value: str
    aliases: tuple[str, ...] = ()
    """Other texts that are as right."""

    @property
    def text(self) -> str:
        return self.value


class OpenEnded(Record):
    """Free text; only a judge or a reward model can score it."""

    kind: Literal["open"] = "open"
    reference: str

    @property
    def text(self) -> str:
        return self.reference


class Environment(Record):
    """An answer that the scorer of an environment judges: code of others, beside the questions that it draws."""

    kind: Literal["environment"] = "environment"
    value: str
    """A right answer; others may be as right."""
    environment: str
    """The package: `reasoning-gym`."""
    task: str
    entry: str
    """JSON of what the scorer needs besides: the task's `settings`, and the `metadata` of this question."""

    @property
    def text(self) -> str:
        return self.value


IMAGE_MARK = "<image>"
"""Stands in a question where a picture belongs."""

Answer = Annotated[
    Digit | Choice | Letters | Expression | Box | Text | OpenEnded | Environment, Field(discriminator="kind")
]


class Picture(Record):
    """An image by reference (`path`) or by value (`data`); `sha256` names its encoded bytes either way."""

    sha256: str
    width: int
    """In pixels, as `height`, once the picture is upright."""
    height: int
    path: str | None = None
    data: bytes | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _has_a_source(self) -> "Picture":
        if (self.path is None) == (self.data is None):
            raise ValueError("a Picture has either a path or data")
        return self

    def encoded(self) -> bytes:
        """The image file's bytes, as they were found. Raises OSError when the file has gone."""
        return self.data if self.data is not None else Path(str(self.path)).read_bytes()

    def open(self) -> "Image":
        """Decode to an RGB `PIL.Image.Image`, upright; what is transparent becomes white, as on a page."""
        return upright_rgb(open_picture(self.encoded()))


class Trace(Record):
    """A demonstration: the full text a model should have written, answer block included."""

    style: str
    """Who writes like that: `plain` (short, correct steps), `expert` (long, hesitant, self-correcting), ..."""
    text: str


class Example(Record):
    """A visual question with its gold answer; `id` is the hash of question, images and answer."""

    question: str
    images: tuple[Picture, ...]
    answer: Answer
    id: str = ""
    family: str = ""
    """A label for tables, such as a world's name or an upstream data set's; it never decides a score."""
    traces: tuple[Trace, ...] = ()
    system: str | None = None
    """A system prompt of this row's own; None takes the recipe's."""
    scene: str | None = None
    """What is in the picture, in words, where the source knows it."""
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _identify(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and not fields.get("id"):
            pictures = [p["sha256"] if isinstance(p, dict) else p.sha256 for p in fields.get("images", ())]
            answer = fields.get("answer")
            gold = answer if isinstance(answer, dict) else answer.model_dump() if answer is not None else None
            # A picture's size is in its hash already: knowing it does not make another example.
            gold = {k: v for k, v in gold.items() if k != "size"} if gold is not None else None
            fields = {**fields, "id": content_id(fields.get("question"), pictures, gold)}
        return fields

    def trace(self, style: str) -> Trace | None:
        """The first demonstration of that style, or None."""
        return next((t for t in self.traces if t.style == style), None)


class StopReason(StrEnum):
    """Why a reply ended."""

    EOS = "eos"
    LENGTH = "length"
    GIVEN = "given"
    """Not sampled at all: a demonstration."""


class Status(StrEnum):
    """What became of the attempt to score a reply. Only `ok` means that the answer was read and compared."""

    OK = "ok"
    WRONG_FORMAT = "wrong_format"
    """No single answer block could be extracted: scored 0, as VLAA-Thinking's implicit format rule says."""
    UNPARSED = "unparsed"
    """There is an answer block, but its content is not of the gold answer's kind: scored 0."""
    TIMED_OUT = "timed_out"
    """The comparison did not end in time: unmeasured, not 0."""
    FAILED = "failed"
    """The verifier broke: unmeasured, not 0."""
    UNSCORED = "unscored"
    """Nobody tried, because no verifier is there for this kind of answer: unmeasured, not 0."""


class Agreement(StrEnum):
    """What a reply's steps have to do with its answer, where steps can be read exactly: on worlds."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    """The steps lead to another answer than the one given."""
    UNREAD = "unread"
    """There are no steps that can be read, or no answer to compare with what they lead to."""


class Verdict(GrownRecord):
    """The judgement of one reply. `score` is None exactly when nothing was measured (timed out, failed, unscored)."""

    _later = frozenset(("outside", "agreement"))
    score: float | None
    status: Status
    parsed: str | None = None
    """What was read in the reply; always shown in the report."""
    why: str = ""
    """A reason that a person understands: `expected 7`, `IoU 0.43`, `no <answer> block`."""
    outside: bool | None = None
    """Whether one of the reply's boxes leaves its picture; None where there is no box, or the picture is not known."""
    agreement: Agreement | None = None
    """Whether the reply's steps lead to its answer; None where nobody can tell, as outside worlds."""

    @model_validator(mode="after")
    def _unmeasured_is_not_zero(self) -> "Verdict":
        measured = self.status not in (Status.TIMED_OUT, Status.FAILED, Status.UNSCORED)
        if measured != (self.score is not None):
            raise ValueError(f"a verdict with status {self.status} must {'' if measured else 'not '}carry a score")
        return self


class Reply(GrownRecord):
    """One reply to a prompt: its tokens, and the log-probs they were sampled with (natural log, one per token)."""

    _later = frozenset(("tokens", "distorted", "stale"))
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    """Empty for a demonstration: nobody sampled it."""
    stop: StopReason = StopReason.EOS
    tokens: int | None = None
    """How many there are, where a server has told that alone."""
    distorted: bool = False
    """Whether it was written to a distorted picture, so that `logprobs` belong to another prompt than the group's."""
    stale: int = 0
    """Pushes of weights between the oldest that a token of it comes from and those that learn from it."""

    @property
    def length(self) -> int | None:
        """In tokens; None where nobody has counted."""
        return len(self.token_ids) if self.token_ids else self.tokens

    @property
    def is_demo(self) -> bool:
        """Whether this reply was given rather than sampled."""
        return self.stop is StopReason.GIVEN


class Judged(Record):
    """A reply and its verdict. What training made of them is absent elsewhere."""

    reply: Reply
    verdict: Verdict
    reward: float | None = None
    """The verdict's score with what the recipe adds for format or length; None when the reply is not trained on."""
    advantage: float | None = None
    """The reward relative to its group."""


class Rollout(GrownRecord):
    """One prompt and its group of judged replies, as training step `step` saw them. One line of rollouts.jsonl."""

    _later = frozenset(("left_out",))
    step: int
    example_id: str
    family: str = ""
    question: str
    gold: str
    images: tuple[str, ...]
    """sha256 of each picture; the run keeps it as images/<sha256>.png."""
    group: tuple[Judged, ...]
    left_out: str = ""
    """Why the step did not train on the group; empty where it did."""


class Score(Record):
    """One evaluated example. One line of scores.jsonl."""

    example_id: str
    family: str = ""
    question: str
    gold: str
    images: tuple[str, ...]
    greedy: Judged | None = None
    samples: tuple[Judged, ...] = ()


class Unit(Record):
    """What a benchmark's number is the mean of: a reply, or a question in one draw. A line of units-<scorer>.jsonl."""

    question: str
    cluster: str
    """What belongs together shares it: a question's variants and draws."""
    value: float | None
    """In [0, 1]; None was not measured."""


class Step(GrownRecord):
    """The measurements of one training step: a batch of prompts, and the optimizer updates on it.

    One line of metrics.jsonl; a key that was not measured is absent.
    """

    _later = frozenset(("trained",))
    step: int
    metrics: dict[str, float]
    seconds: float
    """Wall time of the whole step. `seconds` and `timing` are all that two equal runs may differ in (docs/runs.md)."""
    timing: dict[str, float] = Field(default_factory=dict)
    """Seconds of the step's parts: `rollout`, `reward`, `update`."""
    trained: bool = True
    """False: no step, but what the probe found after the last one, whose number is then that of all steps."""


def json_lines(records: Iterable[Record]) -> str:
    """Records as JSON, a line each."""
    return "".join(f"{record.model_dump_json()}\n" for record in records)


def records_in(path: Path, kind: type[_Line], *, may_be_torn: bool = False) -> Iterator[_Line]:
    """The records of a JSONL file, one at a time; none where there is no such file, as in a run that takes no step.

    `may_be_torn`: a last line without its end is one that a kill has torn, and is passed over. Raises DataError, which
    names file and line, for any other that is no record.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if may_be_torn and not line.endswith(b"\n"):
                return
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise DataError(
                    f"{path} line {number}: expected a {kind.__name__} as JSON, got {excerpt(line, 60)!r}; restore the "
                    "file from a copy, or delete what it belongs to and make it anew"
                ) from error


def content_in(path: Path) -> dict[str, Any]:
    """The object of a JSON file. Raises DataError, which names the file, where it is missing or holds none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(_no_object(path, excerpt(str(error)))) from error
    if not isinstance(content, dict):
        raise DataError(_no_object(path, f"a {type(content).__name__}"))
    return content


def _no_object(path: Path, got: str) -> str:
    remedy = "restore the file from a copy, or delete what it belongs to and make it anew"
    return f"{path}: expected a JSON object, got: {got}; {remedy}"


def content_id(*parts: Any) -> str:
    """16 hex digits naming JSON-serialisable content; equal content has equal ids on every machine."""
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def split_of(content: str) -> SplitName:
    """The split that something belongs to: 80 % train, 10 % validation, 10 % test, by the hash of its content."""
    bucket = hashlib.sha256(content.encode()).digest()[0] % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def open_picture(encoded: bytes, formats: tuple[str, ...] | None = None) -> "ImageFile":
    """An image file's bytes, opened by Pillow and not decoded yet. Raises what Pillow raises.

    Pillow refuses what has more pixels than it knows pictures to have, such as a phone's 200 million. Ours are bounded
    where they come in, by `data.PictureLimits`, which somebody may have raised.
    """
    from PIL import Image

    with _PILLOW:  # the bound is a global of Pillow's: two threads that lift it must not put back each other's
        bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(encoded), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = bound


def upright_rgb(image: "Image") -> "Image":
    """An opened image as a model sees it: upright, RGB, what is transparent white. Turns `image` itself."""
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)  # cameras store pixels as the sensor lay, and a turn beside them
    if not image.has_transparency_data:
        return image.convert("RGB")
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image.convert("RGBA")).convert("RGB")


def png(picture: "Image") -> bytes:
    """A `PIL.Image.Image` as PNG bytes; equal pictures give equal bytes under one Pillow version."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
