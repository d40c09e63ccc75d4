"""What a training run is asked to do: the model, the data, the objective, and a dozen knobs.

A recipe is a YAML file:

    name: grpo
    data: {worlds: [count, digits], number: 512}
    objective: {kind: grpo, group_size: 8}
    steps: 60
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator

from firsthand.answers.asking import prompts_id
from firsthand.config import build, in_todays_names, merge, nearest
from firsthand.cost import TrainingBudget
from firsthand.data import Loaded, PictureLimits, load_rows
from firsthand.data.blind import Blind
from firsthand.data.difficulty import PassRate, of_difficulty
from firsthand.data.load import as_source
from firsthand.data.loaded import OnBad, of_examples
from firsthand.environments import draw_examples
from firsthand.errors import RecipeError
from firsthand.files import did_you_mean
from firsthand.identity import data_id, environments_id, folder_id
from firsthand.objective import Objective, Preset, method_id, parse, preset_of
from firsthand.policy import Lora
from firsthand.policy.precision import (
    DTYPE,
    STATED,
    Accelerator,
    OptimizerKind,
    ParameterCount,
    Precision,
    PrecisionSetting,
    Stated,
    auto,
    kind_of,
    stated,
    warn_of_slow,
)
from firsthand.records import Example, GrownRecord, Kind, Record, SplitName
from firsthand.reward import Reward
from firsthand.rollout import Sampling
from firsthand.run import recipe_of
from firsthand.teacher import Served
from firsthand.workers.environments import ENVIRONMENTS
from firsthand.worlds import SMALL, WORLDS, generate

RENDERED = 512
"""Examples of worlds and environments when a recipe does not say how many."""
LARGEST_PURE_BETA = 0.996
"""What loses the rest of 1 is not rounded back to what it was: half a unit in its last place is a 256th at most."""
LARGEST_LR = 1.0
LARGEST_TEMPERATURE = 10.0
"""Bounds of what can be meant (ours): far above what is trained with, and low enough to catch a lost minus sign."""
WORLDS_ONLY = {"split", "seed", "level", "shifted"}
"""Keys of `Data` that say how worlds are rendered, and environments drawn, which have no `shifted`."""
_Beta = Annotated[float, Field(ge=0, lt=1)]
_PATHS_ONLY = ("kind", "fields", "preset", "max_picture_pixels")
"""Keys of `Data` that say how a path is read."""
_DRAWN = {
    "worlds": (("worlds",), "worlds:NAMES[:SPLIT[:NUMBER]], such as worlds:count,chart:test:200"),
    "environment": (
        ("environment", "tasks"),
        "environment:NAME:TASKS[:SPLIT[:NUMBER]], such as environment:reasoning-gym:chain_sum:test:200",
    ),
}
"""What is not a path on a command line: its keys of `Data`, the last one a list, and its form."""


def _known_level(value: Any) -> Any:
    """One error where the value is neither of two things."""
    if value in ("easy", "hard", "mixed") or isinstance(value, dict):
        return value
    raise ValueError(f"expected easy, hard or mixed, or settings of an environment's tasks, got {value!r}")


class Data(GrownRecord):
    """Where examples come from: a `path` of a user's own, rendered `worlds`, or the tasks of an `environment`."""

    _later = frozenset(("fields", "preset", "on_bad", "max_picture_pixels", "pass_rate", "environment", "tasks"))
    path: str | None = None
    """A file or a folder of questions, as docs/data.md has them."""
    kind: Kind | None = None
    """Of a path's rows that name no kind of their own; None infers it where one reading is possible."""
    fields: dict[str, str] = Field(default={})
    """Our column -> theirs; a dotted path reaches into lists, objects and text that holds one: `meta.gold`."""
    preset: str | None = None
    """Columns and kind of a published data set; what is given beside it wins."""
    worlds: tuple[str, ...] = ()
    """Families of rendered tasks, in equal parts."""
    environment: str | None = None
    """A package that draws questions and scores answers: `reasoning-gym`."""
    tasks: tuple[str, ...] = ()
    """Of the environment, in equal parts."""
    split: SplitName = "train"
    number: int | None = Field(default=None, gt=0)
    """Examples in all: the first ones of a path, or how many to render or draw; None is a whole path, and else 512."""
    seed: int = 0
    level: Annotated[Literal["easy", "hard", "mixed"] | dict[str, Any], BeforeValidator(_known_level)] = "mixed"
    """Of worlds one of these words; of an environment settings of all its tasks, and under a task's name its own."""
    shifted: bool = False
    """Draw what training never shows: unseen pairs, more objects, another font."""
    on_bad: OnBad = "refuse"
    """`drop` leaves out the rows that cannot be used, and lists them in the run's refused.jsonl."""
    max_picture_pixels: int | None = Field(default=None, gt=0)
    """Of a path's pictures: larger ones are refused. None is the default of `data.PictureLimits`."""
    pass_rate: PassRate | None = None
    """Of those `number` examples only the ones that a model solves so often; None keeps all."""

    @model_validator(mode="after")
    def _one_source(self) -> "Data":
        if (self.path is not None) + bool(self.worlds) + (self.environment is not None) != 1:
            raise ValueError("give either `path` or `worlds`, or `environment` with `tasks`")
        if self.path is not None and (beside := self.model_fields_set & {*WORLDS_ONLY, "tasks"}):
            raise ValueError(
                f"{', '.join(sorted(beside))}: only what is drawn has it, and `path` is given; leave it out"
            )
        if self.path is None and (given := [key for key in _PATHS_ONLY if getattr(self, key)]):
            drawn = "`environment` is" if self.environment is not None else "`worlds` are"
            raise ValueError(f"{', '.join(given)}: only a `path` has it, and {drawn} given; leave it out")
        if self.path is not None:
            as_source(self.path, kind=self.kind, fields=self.fields, preset=self.preset)  # names that nobody knows
        if self.environment is not None:
            self._check_environment(self.environment)
        elif self.tasks or isinstance(self.level, dict):
            raise ValueError("tasks, or a level with settings: only an `environment` has them; leave them out")
        unknown = [name for name in self.worlds if name not in WORLDS]
        if unknown:
            raise ValueError(f"unknown worlds {unknown}; known: {', '.join(WORLDS)}")
        return self

    def _check_environment(self, name: str) -> None:
        if name not in ENVIRONMENTS:
            raise ValueError(f"unknown environment {name!r}; {nearest(name, ENVIRONMENTS)}")
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks: expected the names of some tasks of {name}, each once, got {list(self.tasks)}")
        if "level" in self.model_fields_set and not isinstance(self.level, dict):
            raise ValueError(f"level: expected settings of the tasks, such as {{max_terms: 3}}, got {self.level!r}")
        if self.shifted:
            raise ValueError("shifted: only worlds have it; leave it out")

    @classmethod
    def parse(cls, text: str, **said: Any) -> "Data":
        """A command line's `worlds:NAMES[:SPLIT[:NUMBER]]`, `environment:NAME:TASKS[:SPLIT[:NUMBER]]`, or a path, with
        other keys; None: not given.

        Raises RecipeError.
        """
        said = {key: value for key, value in said.items() if value is not None}
        source, colon, rest = text.partition(":")
        if not colon or source not in _DRAWN:
            return build(cls, {"path": text, **said}, f"--data {text}")
        keys, form = _DRAWN[source]
        words = rest.split(":")
        split, number = [*words[len(keys) :], "", ""][:2]
        if not len(keys) <= len(words) <= len(keys) + 2 or not (number or "200").isdigit():
            raise RecipeError(f"--data {text}: expected {form}")
        *first, names = words[: len(keys)]
        named = zip(keys, [*first, names.split(",")], strict=True)
        content = {**dict(named), "split": split or "test", "number": int(number or 200), **said}
        try:
            return build(cls, content, f"--data {text}")
        except RecipeError as error:  # one line: it is about one word of a command line
            raise RecipeError(" ".join(str(error).split())) from error

    def load(self) -> list[Example]:
        """Read or render the examples. Raises DataError naming file, row and remedy."""
        return self.read().settled(self.on_bad)

    def read(self) -> Loaded:
        """The examples, and the rows that cannot be used apart. Raises DataError where nothing can be read, or where
        no example has the pass rate that is asked for."""
        loaded = self._read()
        return loaded if self.pass_rate is None else of_difficulty(loaded, self.pass_rate, self._evaluated_by())

    @property
    def unfiltered(self) -> "Data":
        """Those of any difficulty."""
        return self.model_copy(update={"pass_rate": None})

    def _evaluated_by(self) -> str:
        """How to get the pass rates."""
        if self.path is None and (beside := self.model_fields_set & {"seed", "level", "shifted"}):
            return f"evaluate them with samples in a study, as the command line has no {', '.join(sorted(beside))}"
        named = f"{self.source}:{self.split}:{self.number or RENDERED}"
        return f"make it: firsthand evaluate MODEL --data {self.path or named} --samples 8"

    @property
    def source(self) -> str:
        """The path, or what is drawn, as a command line has it before the split."""
        if self.environment is not None:
            return f"environment:{self.environment}:{','.join(self.tasks)}"
        return self.path or f"worlds:{','.join(self.worlds)}"

    def _read(self) -> Loaded:
        if self.path is not None:
            limits = PictureLimits.of(self.max_picture_pixels)
            said: dict[str, Any] = {"kind": self.kind, "fields": self.fields, "preset": self.preset}
            return load_rows(self.path, **said, limits=limits).first(self.number)
        return of_examples(self.source, self._rendered() if self.environment is None else self._drawn(self.environment))

    def _drawn(self, environment: str) -> list[Example]:
        level = self.level if isinstance(self.level, dict) else {}
        number = self.number or RENDERED
        return draw_examples(environment, self.tasks, number, split=self.split, seed=self.seed, level=level)

    def _rendered(self) -> list[Example]:
        assert isinstance(self.level, str), "only an environment has a level with settings"
        number = self.number or RENDERED
        share = -(-number // len(self.worlds))
        drawn = [
            generate(name, self.split, share, seed=self.seed, level=self.level, shifted=self.shifted)
            for name in self.worlds
        ]
        return [example for row in zip(*drawn, strict=True) for example in row][:number]


class Optimizer(GrownRecord):
    """AdamW with warm-up and a cosine."""

    _later = frozenset(("kind", "offload", "betas"))
    kind: OptimizerKind | None = None
    """How its moments are kept: `adamw` in float32, `adamw-8bit` in a byte each, `adamw-kahan` in bfloat16, with what
    rounding took from the weights. None: `adamw-kahan` under `bfloat16-pure`, and `adamw` otherwise."""
    offload: bool = False
    """Keep float32 weights and moments on the CPU, and step there."""

    lr: float = Field(default=1e-6, gt=0)
    """Peak learning rate (1e-6 is R1-V's and SRFT's)."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0 (VLAA-Thinking's LR2)."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """The cosine ends at this share of `lr`."""
    betas: tuple[_Beta, _Beta] | None = None
    """How much of the first and second moment a step keeps. None: 0.9 and 0.999, and 0.99 with `adamw-kahan`, whose
    bfloat16 moment could not fall by a thousandth."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class TeacherPolicy(Record):
    """A frozen policy that reads along: what it thinks of each sampled token is a column of the methods' table."""

    model: str
    """A Hugging Face folder with the tokenizer of the policy that is trained, `small`, or a finished run."""
    system: str | None = None
    """System prompt that it sees, in place of the recipe's; see `Recipe.system`. None: the recipe's."""
    suffix: str = ""
    """Put after every question that it sees."""
    precision: Literal["auto"] | Stated = "auto"
    """`auto`: float32 on a CPU, and on a GPU what it is stored in."""

    def folder(self) -> Path:
        """The folder of its weights."""
        folder = SMALL if self.model == "small" else Path(self.model)
        return folder / "model" if (folder / "DONE").exists() else folder

    def settled(self) -> "TeacherPolicy":
        """With the precision that it has on this machine."""
        return self.model_copy(update={"precision": stated(self.folder(), self.precision)})

    def bytes(self) -> int:
        """Of its weights, from config.json alone."""
        found = ParameterCount.of(self.folder(), "language")
        return found.all * STATED[stated(self.folder(), self.precision)].itemsize

    def identity(self) -> dict[str, Any]:
        """What it is, wherever it lies."""
        return {**self.model_dump(mode="json", exclude={"model"}), "model_id": folder_id(self.folder())}


def _named(value: Any) -> Any:
    """`teacher: PATH` is short for its folder alone."""
    return {"model": value} if isinstance(value, str) else value


class Probe(Record):
    """Questions that a training run answers greedily from time to time; they change nothing of the training."""

    data: Data
    every: int = Field(default=20, gt=0)
    """Steps from one time to the next. The first is before the first step; the last, after the last one."""
    blind: tuple[Blind, ...] = ()
    """Ask them without their pictures, too: what is shown in their place."""


class Recipe(Record):
    """A training run."""

    name: str
    """The arm's name: the run directory begins with it."""
    model: str = "small"
    """A Hugging Face folder of a family in docs/models.md; `small` is the model that ships here."""
    start: str | None = None
    """A finished run directory to start from, instead of `model`."""
    data: Data
    system: str | None = None
    """System prompt of every example that has none of its own; `default` is that of each one's kind of answer."""
    objective: Objective = Field(default_factory=lambda: parse("grpo"))
    reward: Reward = Field(default_factory=Reward)
    teacher: Annotated[TeacherPolicy | None, BeforeValidator(_named)] = None
    """For methods that learn from one: a folder or a finished run."""
    probe: Probe | None = None
    """Questions that are answered between steps, as a measure of how far the run is."""
    steps: int = Field(default=60, ge=0)
    """Batches that are sampled and trained on. 0 only copies the model: a baseline."""
    stop: int | None = Field(default=None, gt=0)
    """End after so many of the `steps`, for which the rate's schedule is planned all the same: early stopping."""
    budget: TrainingBudget | None = None
    """End as soon as training has cost so much; `steps` are then the most, and the rate goes by the share that is
    used."""
    prompts: int = Field(default=16, gt=0)
    """Prompts per batch."""
    minibatches: int = Field(default=1, gt=0)
    """Parts of a batch, with an optimizer step on each: from the second on, ratios leave 1."""
    sampling: Sampling = Field(default_factory=Sampling)
    rollout: Served | None = None
    """A server that samples in the policy's place, and takes its weights before every step."""
    staleness: int = Field(default=0, ge=0)
    """Steps by which the weights that a reply begins with may be behind those that learn from it: for so many steps
    beyond its own a server writes while one is trained. 0 (default): it waits meanwhile."""
    optimizer: Optimizer = Field(default_factory=Optimizer)
    trainable: Literal["all", "language"] = "language"
    """`language` freezes the vision tower (VLAA-Thinking §4)."""
    adapter: Lora | None = None
    """Train low-rank adapters of the language layers instead of weights; `{}` takes their defaults."""
    precision: PrecisionSetting = "auto"
    """Of weights and of what trains them, see `policy.precision`. `auto`: float32 on a CPU; on a GPU `bfloat16`, and
    `bfloat16-pure` where that does not fit."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward. None: on a GPU, where a forward of the usual size keeps more without
    than a card has, and not on a CPU."""
    tokens_per_forward: int | None = Field(default=None, gt=0)
    """Rows of one forward times their longest length; splits a step without changing its gradient. None: 2,048 on a
    CPU, whose caches are small, and 16,384 on a GPU (measured, ours)."""
    fully_shard: bool = False
    """On several ranks: divide the language weights among them (FSDP2), with what trains them, instead of copying."""
    patience: int = Field(default=1024, ge=0)
    """Replies from the first step on that may all earn nothing before training stops, for they teach nothing; 0 never
    stops. By then less than 0.3 % of replies earn something, at 95 % confidence (3 / 1024, the rule of three)."""
    checkpoint_every: int = Field(default=20, gt=0)
    checkpoint_minutes: float | None = Field(default=None, ge=0)
    """Save as soon as so much time has passed, too. None: 10 minutes (ours)."""
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _as_the_method_has_it(cls, content: Any) -> Any:
        """A method may have defaults for the rest of the recipe, such as VLAA-Thinking's temperature."""
        if not isinstance(content, dict):
            return content
        content = in_todays_names(content, where=f"recipe {content.get('name')}")
        said = content.get("objective", "grpo")
        kind = said.get("kind", "grpo") if isinstance(said, dict) else getattr(said, "kind", said)
        try:
            return merge(
                _defaults(preset_of(kind), content.get("prompts", cls.model_fields["prompts"].default)), content
            )
        except RecipeError:  # the field itself says so, beside whatever else is wrong
            return content

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.objective.samples and self.sampling.temperature == 0:
            raise ValueError("sampling.temperature is 0, so all replies of a group agree and teach nothing; use 1.0")
        if self.objective.needs_teacher != (self.teacher is not None):
            kind = self.objective.kind
            raise ValueError(
                f"objective {kind} learns from a teacher; name a model folder or a finished run: teacher: PATH"
                if self.teacher is None
                else f"teacher: {kind} looks at none; leave it out, or take an objective that does, such as opd"
            )
        if self.precision != "auto":
            self._kind(self.precision)
        self._check_divided()
        self._check_sizes()
        if self.rollout is not None and not self.objective.samples:
            raise ValueError(f"rollout: {self.objective.kind} samples no replies; leave it out")
        if self.staleness and self.rollout is None:
            raise ValueError(
                f"staleness: {self.staleness} is for a server that writes while the policy learns, and there is none; "
                "name it in rollout, or leave staleness out"
            )
        if self.stop is not None and self.stop > self.steps:
            raise ValueError(f"stop ends a training early: expected at most steps ({self.steps}), got {self.stop}")
        if self.budget is not None and self.budget.unit == "generated" and not self.objective.samples:
            raise ValueError(f"budget: {self.objective.kind} generates nothing; take trained, flops or seconds")
        if self.minibatches > self.prompts:
            raise ValueError(f"minibatches must not exceed prompts: got {self.minibatches} and {self.prompts}")
        if re.search(r"[^\w.+-]", self.name):
            raise ValueError(f"name {self.name!r} becomes a folder: use letters, digits, '.', '+', '-' and '_'")
        return self

    def _check_sizes(self) -> None:
        """Numbers that nobody can mean: a slip of the exponent costs a run."""
        lr, decay, temperature = self.optimizer.lr, self.optimizer.weight_decay, self.sampling.temperature
        if not all(map(math.isfinite, (lr, decay, temperature))):
            return  # `build` names each of them
        if lr > LARGEST_LR:
            raise ValueError(
                f"optimizer.lr: expected at most {LARGEST_LR:g}, for AdamW moves every weight by about so much in a "
                f"step, got {lr:g}; published runs take 1e-6 to 1e-3"
            )
        if lr * decay >= 1:
            raise ValueError(
                f"optimizer.weight_decay: expected less than 1 / lr, for a step takes lr x that of every weight "
                f"away, got {decay:g} with lr {lr:g}; published runs take 0 to 0.1"
            )
        if temperature > LARGEST_TEMPERATURE:
            raise ValueError(
                f"sampling.temperature: expected at most {LARGEST_TEMPERATURE:g}, for all tokens are nearly as likely "
                f"then, got {temperature:g}; 1.0 is usual"
            )

    def _check_divided(self) -> None:
        if not self.fully_shard:
            return
        if self.optimizer.offload or self.optimizer.kind not in (None, "adamw") or self.precision == "bfloat16-pure":
            raise ValueError(
                "fully_shard divides the moments of optimizer.kind adamw; leave out optimizer.offload, other kinds and "
                "precision bfloat16-pure, which save what it saves"
            )
        if self.adapter is not None and self.adapter.quantize is not None:
            raise ValueError("fully_shard divides no quantised weights; leave it out, or adapter.quantize")

    def model_folder(self) -> Path:
        """The folder whose weights training begins with. Raises RecipeError when `start` is not a finished run."""
        if self.start is None:
            return SMALL if self.model == "small" else Path(self.model)
        return self._started() / "model"

    def settled(self, card: Accelerator | None, *, tell: bool = True) -> "Recipe":
        """With the precision, the optimizer and the checkpointing that it has on this card; None is a CPU.

        What `auto` chose is logged, unless nobody is to be told.
        Raises RecipeError when they do not go together, DataError when `auto` finds no model to count.
        """
        precision = self.precision
        if precision == "auto":
            precision = auto(
                card,
                "adamw" if self.fully_shard else self.optimizer.kind,
                offload=self.optimizer.offload,
                weight_decay=self.optimizer.weight_decay,
                is_adapter=self.adapter is not None,
                weights=lambda: ParameterCount.of(self.model_folder(), self.trainable),
                copies=int(not self.objective.kl.is_off),
                beside=lambda: 0 if self.teacher is None else self.teacher.bytes(),
                tell=tell,
            )
        elif tell:
            warn_of_slow(precision, card)
        optimizer = self.optimizer.model_copy(update={"kind": self._kind(precision)})
        checkpoints = card is not None if self.gradient_checkpointing is None else self.gradient_checkpointing
        chosen = {"precision": precision, "optimizer": optimizer, "gradient_checkpointing": checkpoints}
        return self.model_copy(update=chosen)

    @property
    def taken(self) -> int:
        """Steps that are taken, if no budget ends before: all, or those until `stop`."""
        return self.steps if self.stop is None else self.stop

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that a settled recipe samples and trains with."""
        assert self.precision != "auto", "the recipe is settled"
        return DTYPE[self.precision]

    def _kind(self, precision: Precision) -> OptimizerKind:
        optimizer = self.optimizer
        kind = kind_of(precision, optimizer.kind, offload=optimizer.offload, weight_decay=optimizer.weight_decay)
        if kind == "adamw-kahan" and optimizer.betas and optimizer.betas[1] > LARGEST_PURE_BETA:
            raise RecipeError(
                f"optimizer.betas: expected a second one of at most {LARGEST_PURE_BETA} with adamw-kahan, whose "
                f"bfloat16 moment would never fall, got {optimizer.betas[1]:g}; lower it, or set precision to bfloat16"
            )
        return kind

    def identity(self, examples: Sequence[Example], probed: Sequence[Example] = ()) -> dict[str, Any]:
        """The recipe as JSON, and all that it reads: examples, a user's own code, and what it begins with.

        `probed` are the examples of its probe. What it begins with is the id of the run in `start`, or the content of
        the model's folder. Moving a run changes no id; other weights under the same path do. Keys without a value are
        left out, so that a key which a later version adds does not disown the runs that are there; so are `patience`
        and `fully_shard`, which change nothing of a run that ends, a `stop` at the last step, where pass rates are
        from, and the precision and optimizer that every run once had. `auto` is what it stands for on this machine.
        """
        settled = self.settled(Accelerator.here(), tell=False)
        content = settled.model_dump(mode="json", exclude_none=True, exclude={"patience", "fully_shard"})
        if settled.precision == "float32":
            del content["precision"]
        if settled.optimizer.kind == "adamw":
            del content["optimizer"]["kind"]
        if settled.stop == settled.steps:
            del content["stop"]
        if not self.staleness:
            del content["staleness"]
        if self.rollout is not None:
            content["rollout"] = {"engine": self.rollout.engine}  # wherever the server is
        if self.data.pass_rate is not None:
            del content["data"]["pass_rate"]["scores"]  # what it has left is in data_id, wherever it lies
        if self.start is not None:
            content["start"] = recipe_of(self._started())["id"]
        else:
            content["model_id"] = folder_id(self.model_folder())
        if self.teacher is not None:
            content["teacher"] = self.teacher.settled().identity()
        asked = [*examples, *probed]
        content |= self.reward.identity() | prompts_id(self.system, asked) | environments_id(asked)
        if source := method_id(self.objective):
            content["method_id"] = source
        unread = {*self.reward.unread, *(["traces"] * (not self.objective.imitates))}
        if probed:
            content["probe_id"] = data_id(probed, unread)
        return {**content, "data_id": data_id(examples, unread)}

    def _started(self) -> Path:
        folder = Path(str(self.start))
        if not (folder / "DONE").exists():
            remedy = did_you_mean(folder) or "train that run first"
            raise RecipeError(f"start: expected a finished run directory, got {folder} without DONE; {remedy}")
        if not recipe_of(folder).get("id"):
            raise RecipeError(
                f"start: expected the recipe.json of a run in {folder}, got none that can be read; give that run's own "
                "command again, which writes it again"
            )
        return folder


def _defaults(preset: Preset, prompts: Any) -> dict[str, Any]:
    """What a method has for the rest of a recipe; a small batch has no more parts than prompts."""
    parts = preset.recipe.get("minibatches", 1)
    return {**preset.recipe, "minibatches": min(parts, max(1, prompts)) if isinstance(prompts, int) else parts}
