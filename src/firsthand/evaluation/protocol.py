"""How replies are drawn for an evaluation: printed with every number, for a number without it means nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from firsthand.answers.asking import BY_KIND
from firsthand.answers.stated import Rule, answer_block
from firsthand.config import build, nearest, override, read_yaml
from firsthand.data.blind import Blind, blinded
from firsthand.errors import RecipeError
from firsthand.records import Example, Record
from firsthand.teacher import Served

_SHIPPED = Path(__file__).with_name("protocols")
_FIRST_KEYS = ("max_new_tokens", "samples", "temperature", "seed", "system")
"""Keys that stand in every evaluation; later ones only where they say something, so that no earlier number loses its
protocol."""

_BLIND: dict[Blind, str] = {
    "gray": "BLIND: pictures gray",
    "shuffled": "BLIND: pictures of other questions",
    "none": "BLIND: no pictures",
}


class Protocol(Record):
    """How replies are drawn for an evaluation; printed with every number."""

    max_new_tokens: int = Field(default=256, gt=0)
    samples: int = Field(default=8, ge=0)
    """Sampled replies per example, for pass@k; 0 leaves pass@k unmeasured."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the samples; the accuracy is greedy."""
    seed: int = 0
    system: str | None = None
    """Of rows that have none of their own; `default` is that of each one's kind of answer."""
    greedy: bool = True
    """False: no greedy reply is drawn, and the accuracy is the mean over the samples (avg@k)."""
    answer: Rule = "stated"
    """How a reply to --data is read; benchmarks are read as `stated` by their own rules."""
    suffix: str = ""
    """Put after every question."""
    min_pixels: int | None = Field(default=None, gt=0)
    """Of a picture as the model is shown it; smaller ones are enlarged. None is the model folder's own bound."""
    max_pixels: int | None = Field(default=None, gt=0)
    """Larger pictures are shrunk to it."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of a model folder's weights. `auto`: float32 on a CPU, and on a GPU what they are stored in."""
    prediction: Literal["reply", "answer_block"] = "reply"
    """What a leaderboard's scorer is given: `answer_block` is what stands between the answer tags of a reply that has
    exactly one such block, and the whole reply otherwise (VLMEvalKit's post-processing of VLAA-Thinker)."""
    blind: Blind | None = None
    """What the model is shown in place of each picture, which is a control: `gray`, `shuffled` or `none`."""
    rollout: Served | Literal["vllm"] | None = None
    """A server that is given a model folder's weights, and writes its replies. A record keeps its engine alone."""

    @model_validator(mode="after")
    def _draws_something(self) -> "Protocol":
        if not self.greedy and not self.samples:
            raise ValueError("samples: expected 1 or more where greedy is false, or nothing would be drawn")
        return self

    @property
    def content(self) -> dict[str, Any]:
        """As JSON, with those later keys that say something. No `answer` is `tags`, as before there was a choice.

        No `precision` is float32, or a server's own.
        """
        default = Protocol(answer="tags", precision="float32" if self.precision == "float32" else "auto")
        dumped = self.model_dump(mode="json") | {"rollout": self.engine}
        return {k: v for k, v in dumped.items() if k in _FIRST_KEYS or v != getattr(default, k)}

    @classmethod
    def of_data(cls, content: Mapping[str, Any]) -> "Protocol":
        """The protocol that an evaluation of data recorded."""
        return cls.model_validate({"answer": "tags", **content})

    @property
    def engine(self) -> Literal["vllm"] | None:
        """What writes a model folder's replies, wherever it is; None: this process."""
        return self.rollout.engine if isinstance(self.rollout, Served) else self.rollout

    @property
    def control(self) -> list[str]:
        """What the names of a blind evaluation's files have beside those of a seeing one."""
        return [f"blind-{self.blind}"] if self.blind else []

    def shown(self, examples: Sequence[Example]) -> list[Example]:
        """The examples as the model is shown them. Raises DataError where a blind one cannot be."""
        return blinded(examples, self.blind, self.seed) if self.blind else list(examples)

    def line(self) -> str:
        """One line for people."""
        drawn = ["greedy"] * self.greedy
        if self.samples:
            drawn.append(f"{self.samples} samples at temperature {self.temperature:g}, seed {self.seed}")
        bounds = [f"{name} pixels {v:,}" for name, v in (("min", self.min_pixels), ("max", self.max_pixels)) if v]
        own = (
            "default system prompts"
            if self.system == BY_KIND
            else f"system prompt of {len(self.system or '')} characters"
        )
        said = [own] if self.system else ["no system prompt"]
        said += [f"suffix of {len(self.suffix)} characters"] if self.suffix else []
        said += [_BLIND[self.blind]] if self.blind else []
        after = ["answer block alone to the leaderboard's scorer"] if self.prediction == "answer_block" else []
        after += ["answers read in tags alone"] if self.answer == "tags" else []
        after += [f"in {self.precision}"] if self.precision not in ("auto", "float32") else []
        after += [f"replies from {self.engine}"] if self.engine else []
        return ", ".join([*drawn, f"at most {self.max_new_tokens:,} new tokens", *bounds, *said, *after])

    def predicted(self, reply: str) -> str:
        """What a leaderboard's scorer is given of a reply."""
        inside = answer_block(reply).inside if self.prediction == "answer_block" else None
        return reply if inside is None else inside


def protocol(
    name: str, assignments: Sequence[str] = (), said: Mapping[str, Any] | None = None, draws: int | None = None
) -> Protocol:
    """A protocol that ships here, or a YAML file of one; on top what was `said`, and `KEY=VALUE`s. Raises RecipeError.

    Unlike a protocol that nobody names, it draws no samples beside a greedy reply unless it says so; where it is not
    greedy it draws one, or `draws`, a benchmark's own number.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else _SHIPPED / f"{name}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in _SHIPPED.glob("*.yaml"))
        raise RecipeError(f"--protocol {name}: expected one that ships here or a YAML file; {nearest(name, known)}")
    content = override({**read_yaml(path), **(said or {})}, assignments)
    samples = 0 if content.get("greedy", True) else draws or 1
    return build(Protocol, {"samples": samples, **content}, f"protocol {name}")
