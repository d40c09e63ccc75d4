"""Carrying out a forge: step after step, part after part, so that it can be stopped at any moment and go on.

    OUT/.work/answers.sqlite             every answer that was paid for, by content
    OUT/.work/pictures/                  pictures that came by value
    OUT/.work/<n>-<step>-<id>/           what a step kept and dropped; its id is the hash of it and of all before it

A step whose settings, prompt or input changed has another id and is done again, with all that follow; requests that
stay the same are not made again.
"""

import fcntl
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from firsthand.batched import batched
from firsthand.data.source import Source
from firsthand.data.stream import Refused
from firsthand.errors import FirsthandError, RecipeError
from firsthand.forge.caption import Caption
from firsthand.forge.collect import Collect, refused
from firsthand.forge.config import ASKING, ForgeConfig, Scenes
from firsthand.forge.distill import Distill
from firsthand.forge.engine import Engine, mapped
from firsthand.forge.intake import prepared_part, rows
from firsthand.forge.rewrite import Rewrite
from firsthand.forge.scenes import MODEL, SceneTeacher
from firsthand.forge.shards import Parts, flat
from firsthand.forge.split import Split
from firsthand.forge.step import STEP_NAMES, Asked, Decision, Kept, Step
from firsthand.forge.teaching import Voice
from firsthand.forge.verify import Verify
from firsthand.records import Example, content_id
from firsthand.reward import Router
from firsthand.teacher import AnswerLog, BatchClient, Endpoint, Failure, Progress
from firsthand.teacher.batch_files import write_batch

PART = 500
"""Rows of a part: what a kill can cost a step beside the requests in flight, at most."""


EVERY_S = 0.5
"""Seconds between two reports within a part."""


@dataclass(frozen=True)
class Report:
    """How far a step is. `total` None: nobody knows how many rows its source has."""

    step: str
    done: int
    total: int | None
    progress: Progress | None = None


class Unanswered(FirsthandError):
    """Some requests had no answer, however often they were made; everything else is kept."""


class Waiting(FirsthandError):
    """Requests have been written to batch files; the forge goes on when their answers are there."""


OnReport = Callable[[Report], None]


@dataclass
class Forge:
    """A forge and its folder."""

    config: ForgeConfig
    out: Path
    rehearsal: bool = False
    """Ask nobody: every teacher is the one inside."""
    batch_out: Path | None = None
    """Write a step's requests to batch files here, instead of asking an endpoint."""
    engine: Engine = "local"
    """Where rows are decoded and hashed."""
    give_up: bool = False
    """Drop the rows that nobody answers, instead of stopping for them."""
    on_report: OnReport = field(default=lambda report: None)

    @property
    def work(self) -> Path:
        """Where everything is that going on needs."""
        return work_of(self.out)

    def run(self) -> dict[str, Parts]:
        """Carry out what is left of the six steps; the results of each.

        Raises RecipeError, DataError, and BudgetSpent; then nothing is lost, and the same call goes on.
        """
        self._check_teachers()
        found: dict[str, Parts] = {}
        with self._locked(), Router(workers=2) as router, AnswerLog(self.work / "answers.sqlite") as log:
            before: Parts | None = None
            identity = ""
            for number, step in enumerate(self._steps(router)):
                identity = content_id(identity or self._sources(), step.name, step.identity())
                parts = Parts(self.work / f"{number + 1}-{step.name}-{identity[:8]}")
                if not parts.is_done:
                    self._carry_out(step, before, parts, log)
                before = found[step.name] = parts
        return found

    def _check_teachers(self) -> None:
        """A key that is not there must not show only when the steps before have been paid for. Raises RecipeError."""
        for teacher in map(self._teacher, ASKING):
            if isinstance(teacher, Endpoint):
                teacher.key()
                self.config.budget.fits(teacher)

    def costs(self) -> list[dict[str, Any]]:
        """What each step has asked and paid, earlier runs included; steps that asked nobody are left out."""
        with AnswerLog(self.work / "answers.sqlite") as log:
            paid = [(step, log.spent(step)) for step in STEP_NAMES]
        return [{"step": step, **spent._asdict()} for step, spent in paid if spent.requests]

    def _carry_out(self, step: Step, before: Parts | None, parts: Parts, log: AnswerLog) -> None:
        """What is left of one step."""
        if isinstance(step, Split):
            assert before is not None
            step.survey(flat(before.kept()))
        first, (done, kept) = parts.number, _earlier(step, parts)
        teacher = self._teacher(step.name)
        if self.batch_out is not None and isinstance(teacher, Endpoint) and before is not None:
            self._write_batch(step, before.kept(first), log)
        client = BatchClient(teacher, log, self.config.budget, step=step.name)

        total = None if before is None else before.rows

        def report(decided: int) -> None:
            self.on_report(Report(step.name, done + decided, total, client.progress))

        report(0)
        failures: list[str] = []
        given = self._rows(first) if before is None else before.kept(first)
        for number, decided in enumerate(self._decided(step, client, teacher, given, failures, report), start=first):
            if not failures:  # parts from the first failure on are made again: their answers are in the log
                parts.write(number, decided)
            done, kept = done + len(decided), kept + _kept(decided)
            report(0)
        if failures:
            raise Unanswered(
                f"{step.name}: {len(failures):,} rows got no answer, however often they were asked (the last: "
                f"{failures[-1]}); all others are kept. Give the same command again, or with --give-up to drop them"
            )
        parts.finish(kept)
        self.on_report(Report(step.name, done, done, None))

    def _decided(
        self,
        step: Step,
        client: BatchClient,
        teacher: Endpoint | SceneTeacher,
        given: Iterable[Sequence[Example | Refused]],
        failures: list[str],
        report: Callable[[int], None],
    ) -> Iterator[list[Decision]]:
        """The decisions on each part; what nobody answered goes to `failures` instead."""
        scenes = teacher if isinstance(teacher, SceneTeacher) else None
        decided: list[Decision] = []
        told = time.monotonic()
        for asked, outcome in client.answers(_pairs(step, given, scenes)):
            if time.monotonic() - told > EVERY_S:  # a part may take an hour
                told = time.monotonic()
                report(len(decided))
            if asked is None:  # the end of a part
                yield decided
                decided = []
            elif isinstance(asked, Refused):
                decided.append(refused(asked))
            elif isinstance(outcome, Failure) and outcome.reason == "unanswered" and not self.give_up:
                failures.append(outcome.detail)
            else:
                decided.append(step.decide(asked, outcome))
                if scenes is not None:
                    scenes.forget(asked)

    def _write_batch(self, step: Step, given: Iterable[list[Example]], log: AnswerLog) -> None:
        """Raises Waiting when there are requests that nobody has answered."""
        assert self.batch_out is not None
        requests = (request for _, request in _pairs(step, given, None) if request is not None)
        files = write_batch(requests, self.batch_out / step.name, log, step=step.name)
        if files:
            raise Waiting(
                f"{step.name}: its requests are in {', '.join(map(str, files))}; have them answered (a hosted batch, "
                "or `vllm run-batch -i FILE -o ANSWERS`), then give the same command with --batch-in ANSWERS"
            )

    def _rows(self, first: int) -> Iterator[list[Example | Refused]]:
        """The sources' rows in parts, from part `first` on; those before it are read, but not looked at."""
        parts = itertools.islice(batched(rows(self.config.sources), PART), first, None)
        return mapped(self.engine, partial(prepared_part, pictures=self.work / "pictures"), parts)

    def _steps(self, router: Router) -> Iterable[Step]:
        config, prompts = self.config, self.config.prompts
        judge = self._voice("verify") if config.verify.judge else None
        yield Collect(config.collect)
        yield Caption(self._voice("caption"), prompts.get("caption"), config.uncaptioned)
        yield Distill(self._voice("distill"), prompts.get("distill"), config.rl_only, config.demonstrated)
        yield Rewrite(self._voice("rewrite"), prompts.get("rewrite"), config.rewrite)
        yield Verify(judge, prompts.get("verify"), config.verify, router)
        yield Split(config.split, config.rl_only)

    def _voice(self, step: str) -> Voice:
        teacher = self.config.teacher(step)
        if self.rehearsal or isinstance(teacher, Scenes):
            return Voice(MODEL)
        return Voice(teacher.model, teacher.temperature, teacher.max_tokens, teacher.extra)

    def _teacher(self, step: str) -> Endpoint | SceneTeacher:
        """Who is asked in a step. Those that ask nothing have the teacher inside, and never reach it."""
        if step not in ASKING or self.rehearsal or (step == "verify" and not self.config.verify.judge):
            return SceneTeacher(step)
        teacher = self.config.teacher(step)
        return SceneTeacher(step) if isinstance(teacher, Scenes) else teacher

    def _sources(self) -> str:
        """What the rows are, as far as that can be known without reading them: settings, and files' sizes and times."""
        return content_id(
            [source.model_dump(mode="json", by_alias=True) for source in self.config.sources], _files(self.config)
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RecipeError(f"{self.out}: another process works on this forge; wait for it or stop it") from error
            yield


def work_of(out: Path) -> Path:
    """The folder in a data set's folder that going on needs."""
    return out / ".work"


def _earlier(step: Step, parts: Parts) -> tuple[int, int]:
    """How many rows an earlier process decided, and kept; a step that must know them sees them again."""
    done = kept = 0
    for decisions in parts.decisions():
        done, kept = done + len(decisions), kept + _kept(decisions)
        if isinstance(step, Collect):
            step.remember(decisions)
    return done, kept


def _kept(decisions: Iterable[Decision]) -> int:
    return sum(isinstance(decision, Kept) for decision in decisions)


def _pairs(
    step: Step, given: Iterable[Sequence[Example | Refused]], scenes: SceneTeacher | None
) -> Iterator[tuple[Asked | Refused | None, Any]]:
    """Every row with its request, refused rows without one, and None after each part."""
    for part in given:
        examples = [row for row in part if isinstance(row, Example)]
        asked = iter(step.ask(examples))
        for row in part:
            if isinstance(row, Refused):
                yield row, None
                continue
            one = next(asked)
            if scenes is not None:
                scenes.expect(one)
            yield one, one.request
        yield None, None


def _files(config: ForgeConfig) -> list[tuple[str, int, int]]:
    """Name, size and time of every data file; of a folder, of all that it holds."""
    found: list[tuple[str, int, int]] = []
    for source in config.sources:
        if not isinstance(source, Source):
            continue
        path = Path(source.path).expanduser()
        if not path.exists():  # FOLDER:SPLIT
            path = Path(source.path.rpartition(":")[0]).expanduser()
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        stats = [(file, file.stat()) for file in files if file.is_file()]
        found += [(str(file.relative_to(path.parent)), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return found
