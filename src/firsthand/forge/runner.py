"""Carrying out a forge: step after step, shard after shard, so that it can be stopped at any moment and go on.

    OUT/.work/answers.sqlite             every answer that was paid for, by content
    OUT/.work/pictures/                  pictures that came by value
    OUT/.work/<n>-<step>-<id>/           what a step kept and dropped; its id is the hash of it and of all before it

A step whose settings, prompt or input changed has another id and is done again, with all that follow; requests that
stay the same are not made again.
"""

import fcntl
import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from firsthand.batched import batched
from firsthand.data.loaded import Refused
from firsthand.data.source import Source
from firsthand.errors import FirsthandError, RecipeError
from firsthand.files import object_in, write_atomically
from firsthand.forge.caption import Caption
from firsthand.forge.collect import Collect
from firsthand.forge.config import ASKING_STEPS, ForgeConfig
from firsthand.forge.distill import Distill
from firsthand.forge.draft import Draft
from firsthand.forge.engine import map_shards
from firsthand.forge.exports import write_exports
from firsthand.forge.intake import PictureHashes, drafts, source_rows
from firsthand.forge.output import hashes, is_whole, write_data_set
from firsthand.forge.rewrite import Rewrite
from firsthand.forge.shards import SHARD_FORMAT, StepShards
from firsthand.forge.simulated import SIMULATED_MODEL, SimulatedTeacher
from firsthand.forge.split import Split
from firsthand.forge.step import STEP_NAMES, Asked, Decision, Dropped, ForgeStep, decision
from firsthand.forge.verify import Verify
from firsthand.ray_cluster import Engine
from firsthand.records import content_id, content_in
from firsthand.reward import Router
from firsthand.teacher import (
    AnswerLog,
    BatchClient,
    Endpoint,
    Failure,
    Progress,
    SamplingParameters,
    check_endpoints,
)
from firsthand.teacher.batch_files import read_batch, write_batch

SHARD_ROWS = 500
"""What a kill can cost a step beside the requests in flight, at most."""
_REASONS_TOLD = 3
_ANSWERS = "answers.sqlite"
_REPORT_EVERY_S = 0.5
"""Within a shard."""


@dataclass(frozen=True)
class StepProgress:
    """How far a step is. `total` None: nobody knows how many rows its source has."""

    step: str
    done: int
    total: int | None
    requests: Progress | None = None


class Unanswered(FirsthandError):
    """Some requests had no answer, however often they were made; everything else is kept."""


class NothingKept(FirsthandError):
    """No row has survived all steps, so there is no data set."""


class Waiting(FirsthandError):
    """Requests have been written to batch files; the forge goes on when their answers are there."""


@dataclass(frozen=True)
class _ForgeRunner:
    """Carries out a forge in its folder, as `run_forge` says."""

    config: ForgeConfig
    out: Path
    dry_run: bool
    batch_out: Path | None
    engine: Engine
    give_up: bool
    on_progress: Callable[[StepProgress], None]

    @property
    def work(self) -> Path:
        """The folder in the data set's folder that going on needs."""
        return self.out / ".work"

    def run(self) -> dict[str, StepShards]:
        """Carry out what is left of the six steps; the results of each."""
        # A key that is not there must not show only when the steps before have been paid for.
        endpoints = [teacher for teacher in map(self._teacher, ASKING_STEPS) if isinstance(teacher, Endpoint)]
        for endpoint in endpoints:
            endpoint.key()
            self.config.budget.fits(endpoint)
        if self.batch_out is None and not (self.work / _ANSWERS).exists():  # else answers may be there for all rows
            check_endpoints(endpoints)
        found: dict[str, StepShards] = {}
        with self._locked(), Router(workers=2) as router, AnswerLog(self.work / _ANSWERS) as log:
            before: StepShards | None = None
            # What the rows are, as far as that can be known without reading them.
            sources = [source.model_dump(mode="json") for source in self.config.sources]
            identity = content_id(SHARD_FORMAT, sources, _files(self.config.row_sources))
            for number, step in enumerate(self._steps(router)):
                identity = content_id(identity, step.name, step.identity())
                shards = StepShards(self.work / f"{number + 1}-{step.name}-{identity[:8]}", before)
                shards.discard_damaged()
                if not shards.is_done:
                    self._carry_out(step, shards, log)
                before = found[step.name] = shards
        return found

    def costs(self) -> list[dict[str, Any]]:
        """What each step has asked and paid, earlier runs included; steps that asked nobody are left out.

        Dollars are None where the teacher's prices are not known; the teacher inside costs nothing.
        """
        with AnswerLog(self.work / _ANSWERS) as log:
            paid = [(step, log.spent(step)) for step in STEP_NAMES]
        rows = [{"step": step, **spent._asdict()} for step, spent in paid if spent.requests]
        return [{**row, "dollars": None} if self._is_unpriced(row["step"], row["dollars"]) else row for row in rows]

    def _is_unpriced(self, step: str, dollars: float) -> bool:
        teacher = self._teacher(step)
        return isinstance(teacher, Endpoint) and teacher.prompt_price is None and not dollars

    def _carry_out(self, step: ForgeStep, shards: StepShards, log: AnswerLog) -> None:
        """What is left of one step."""
        before = shards.before
        if isinstance(step, Split):
            assert before is not None
            step.survey(itertools.chain.from_iterable(before.kept()))
        if isinstance(step, Collect):
            step.remember(itertools.chain.from_iterable(shards.kept()))
        first, done = shards.number, shards.counts().total()
        teacher = self._teacher(step.name)
        if self.batch_out is not None and isinstance(teacher, Endpoint) and before is not None:
            _write_batch(self.batch_out / step.name, step, before.kept(first), log)
        client = BatchClient(teacher, log, self.config.budget, step=step.name)
        total = None if before is None else before.rows

        def report(decided: int) -> None:
            self.on_progress(StepProgress(step.name, done + decided, total, client.progress))

        report(0)
        failures: list[str] = []
        given = self._drafts(first) if before is None else before.kept(first)
        for number, decided in enumerate(self._decided(step, client, teacher, given, failures, report), start=first):
            if not failures:  # shards from the first failure on are made again: their answers are in the log
                shards.write(number, decided)
            done += len(decided)
            report(0)
        if failures:
            raise Unanswered(
                f"{step.name}: {len(failures):,} rows got no answer, however often they were asked (the last: "
                f"{failures[-1]}); all others are kept. Give the same command again, or with --give-up to drop them"
            )
        shards.finish()
        self.on_progress(StepProgress(step.name, done, done))

    def _decided(
        self,
        step: ForgeStep,
        client: BatchClient,
        teacher: Endpoint | SimulatedTeacher,
        given: Iterable[Sequence[Draft | Refused]],
        failures: list[str],
        report: Callable[[int], None],
    ) -> Iterator[list[Decision]]:
        """The decisions on each shard; what nobody answered goes to `failures` instead."""
        simulated = teacher if isinstance(teacher, SimulatedTeacher) else None
        decided: list[Decision] = []
        told = time.monotonic()
        for asked, outcome in client.answers(_pairs(step, given, simulated)):
            if time.monotonic() - told > _REPORT_EVERY_S:  # a shard may take an hour
                told = time.monotonic()
                report(len(decided))
            if asked is None:  # the end of a shard
                yield decided
                decided = []
            elif isinstance(asked, Refused):
                decided.append(Dropped(asked, asked.reason, asked.detail))
            elif isinstance(outcome, Failure) and outcome.reason == "unanswered" and not self.give_up:
                failures.append(outcome.detail)
            else:
                decided.append(decision(step, asked, outcome))
                if simulated is not None:
                    simulated.forget(asked)

    def _drafts(self, first: int) -> Iterator[list[Draft | Refused]]:
        """The sources' rows in shards, from shard `first` on; those before it are read, but not looked at."""
        hashes = PictureHashes() if self.engine == "local" else None  # Ray's tasks hash where they run
        rows = itertools.islice(batched(source_rows(self.config.sources, hashes), SHARD_ROWS), first, None)
        return map_shards(self.engine, partial(drafts, pictures=self.work / "pictures", hashes=hashes), rows)

    def _steps(self, router: Router) -> Iterable[ForgeStep]:
        config, prompts = self.config, self.config.prompts
        judge = self._sampling("verify") if config.verify.judge else None
        rl_only = [s.name for s in config.row_sources if s.part == "rl"]
        demonstrated = [s.name for s in config.row_sources if not s.distill]
        uncaptioned = [s.name for s in config.row_sources if s.caption is False]
        yield Collect(config.collect)
        # Nobody would read a caption of the sources that are explored only, or bring their demonstrations.
        yield Caption(self._sampling("caption"), prompts.get("caption"), [*uncaptioned, *rl_only, *demonstrated])
        yield Distill(self._sampling("distill"), prompts.get("distill"), rl_only, demonstrated)
        yield Rewrite(self._sampling("rewrite"), prompts.get("rewrite"), config.rewrite)
        yield Verify(judge, prompts.get("verify"), config.verify, router)
        yield Split(config.split)

    def _sampling(self, step: str) -> SamplingParameters:
        teacher = self._teacher(step)
        return teacher if isinstance(teacher, Endpoint) else SamplingParameters(model=SIMULATED_MODEL)

    def _teacher(self, step: str) -> Endpoint | SimulatedTeacher:
        """Who is asked in a step. Those that ask nothing have the teacher inside, and never reach it."""
        teacher = self.config.teacher(step) if step in self.config.asking_steps and not self.dry_run else None
        return teacher if isinstance(teacher, Endpoint) else SimulatedTeacher(step)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / ".lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RecipeError(f"{self.out}: another process works on this forge; wait for it or stop it") from error
            yield


def run_forge(
    config: ForgeConfig,
    out: Path,
    *,
    dry_run: bool = False,
    batch_out: Path | None = None,
    engine: Engine = "local",
    give_up: bool = False,
    on_progress: Callable[[StepProgress], None] = lambda progress: None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Carry out a forge, or what is left of it, and write its data set to `out`; the funnel, and each step's costs.

    `dry_run` asks nobody: the teacher inside answers. `batch_out` asks nobody either: a step's requests are written
    to batch files there, and `Waiting` is raised. `give_up` drops the rows that nobody answers, instead of stopping
    for them. Raises RecipeError, DataError, BudgetSpent, Outage or Unanswered; nothing is lost then, and the same call
    goes on. Raises NothingKept where no row survives; what answers have cost is kept.
    """
    run = _ForgeRunner(config, out, dry_run, batch_out, engine, give_up, on_progress)
    found = run.run()
    if not found["split"].rows:
        why = _why_nothing(found)
        if not run.costs():  # nothing that was paid for is there
            shutil.rmtree(run.work)
            with suppress(OSError):
                out.rmdir()
        raise NothingKept(why)
    stamp = run.work / "data_set.json"
    identity = content_id(found["split"].folder.name, config.model_dump(mode="json"))
    written = object_in(stamp, {"id": str, "files": dict})
    if not (written.get("id") == identity and is_whole(out, written.get("files") or {})):
        stamp.unlink(missing_ok=True)
        write_data_set(config, found, out)
        write_exports(found["split"], out, config.exports)
        write_atomically(stamp, json.dumps({"id": identity, "files": hashes(out)}))
    return content_in(out / "funnel.json"), run.costs()


def read_answers(config: ForgeConfig, out: Path, files: Sequence[Path]) -> int:
    """Keep what batch files answer; how many answers were new. Raises DataError."""
    asked = {step: config.teacher(step) for step in config.asking_steps}
    endpoints = {step: teacher for step, teacher in asked.items() if isinstance(teacher, Endpoint)}
    with AnswerLog(out / ".work" / _ANSWERS) as log:
        return sum(read_batch(file, log, endpoints) for file in files)


def _why_nothing(found: Mapping[str, StepShards]) -> str:
    """The most frequent reasons, each with its number and what was said of its first row; that has the remedy."""
    reasons: Counter[tuple[str, str]] = Counter()
    for step, shards in found.items():
        for (_, reason), number in shards.counts().items():
            reasons[step, reason] += number if reason else 0
    total = sum(reasons.values())
    if not total:
        return "the sources have no rows, so there is no data set; look at `sources`"
    lines = [f"none of {total:,} rows is left after the six steps, so there is no data set. The reasons:"]
    for (step, reason), number in [pair for pair in reasons.most_common(_REASONS_TOLD) if pair[1]]:
        first = next(dropped for dropped in found[step].dropped() if dropped.reason == reason)
        where = f"{first.draft.place}, " if isinstance(first.draft, Refused) else ""
        lines.append(f"  {step}: {reason} {number:,}" + (f", such as {where}{first.detail}" if first.detail else ""))
    return "\n".join(lines)


def _write_batch(folder: Path, step: ForgeStep, given: Iterable[list[Draft]], log: AnswerLog) -> None:
    """Raises Waiting when there are requests that nobody has answered."""
    requests = (request for _, request in _pairs(step, given, None) if request is not None)
    if files := write_batch(requests, folder, log, step=step.name):
        raise Waiting(
            f"{step.name}: its requests are in {', '.join(map(str, files))}; have them answered (a hosted batch, or "
            "`vllm run-batch -i FILE -o ANSWERS`), then give the same command with --batch-in ANSWERS"
        )


def _pairs(
    step: ForgeStep, given: Iterable[Sequence[Draft | Refused]], simulated: SimulatedTeacher | None
) -> Iterator[tuple[Asked | Refused | None, Any]]:
    """Every row with its request, refused rows without one, and None after each shard."""
    for shard in given:
        asked = iter(step.ask([row for row in shard if isinstance(row, Draft)]))
        for row in shard:
            if isinstance(row, Refused):
                yield row, None
                continue
            one = next(asked)
            if simulated is not None:
                simulated.expect(one)
            yield one, one.request
        yield None, None


def _files(sources: Iterable[Source]) -> list[tuple[str, int, int]]:
    """Name, size and time of every data file; of a folder, of all that it holds."""
    found: list[tuple[str, int, int]] = []
    for source in sources:
        path = Path(source.path).expanduser()
        if not path.exists():  # FOLDER:SPLIT
            path = Path(source.path.rpartition(":")[0]).expanduser()
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        stats = [(file, file.stat()) for file in files if file.is_file()]
        found += [(str(file.relative_to(path.parent)), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    return found
