"""Carry out a recipe: step after step, each journalled, until the run is done."""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from firsthand.data import Loaded
from firsthand.errors import DataError, NothingEarned
from firsthand.policy.precision import Accelerator
from firsthand.processor import Encoder
from firsthand.recipe import Recipe
from firsthand.records import Example, Step
from firsthand.reward import Router
from firsthand.reward.build import router_of
from firsthand.run import CHOSEN, REFUSED, Run
from firsthand.trainer.ahead import Ahead, mine, of_staleness
from firsthand.trainer.batch import Batch
from firsthand.trainer.check import check_rows
from firsthand.trainer.cost import of_sampling
from firsthand.trainer.followed import writer_of
from firsthand.trainer.journal import Journal, SilentJournal
from firsthand.trainer.metrics import of_batch
from firsthand.trainer.pace import Pace
from firsthand.trainer.patience import Patience
from firsthand.trainer.probe import Questions, answer_probe, questions_of
from firsthand.trainer.ranks import ALONE, Ranks, ranks_here
from firsthand.trainer.sample import draws, sample
from firsthand.trainer.saving import Saving
from firsthand.trainer.score import score
from firsthand.trainer.select import check_variance, in_batch_units, select
from firsthand.trainer.state import State
from firsthand.trainer.teaching import check_teacher
from firsthand.trainer.together import together
from firsthand.trainer.trackers import Trackers
from firsthand.trainer.update import update

OnStep = Callable[[Step], None]


def train(
    recipe: Recipe,
    root: Path,
    on_step: OnStep = lambda step: None,
    trackers: Trackers | None = None,
    *,
    pause: float | None = None,
) -> Path:
    """Carry out a recipe, or what is left of it; the run directory, which then holds `model/` and DONE.

    `on_step` is called after every journalled step, those before a resume excepted. `trackers` change no result and no
    id; without them TensorBoard's files are written.
    With `pause` it ends when that share of the training is done, if not before: with a checkpoint to go on from, and
    `model/`, but without DONE.
    Ctrl-C and SIGTERM end the step, save, and raise KeyboardInterrupt.
    In processes that torchrun has started it is one training by all of them (docs/scale.md).
    Raises DataError, RecipeError, ParityError or NothingEarned; each says what to do.
    """
    ranks = ranks_here()
    recipe = recipe.settled(Accelerator.here(), tell=ranks.is_first)
    encoder = Encoder.load(recipe.model_folder())  # a wrong one is told before the data are read, which takes minutes
    check_teacher(recipe, encoder)
    loaded = recipe.data.read()
    with router_of(recipe.reward, folder=root) as router:
        # Before a directory is made: a mistake leaves nothing behind.
        loaded = check_rows(recipe, loaded, router, encoder)
        examples = loaded.settled(recipe.data.on_bad, root)
        probed = questions_of(recipe, router, encoder)
        with open_run(recipe, examples, root, probed.examples, ranks) as run:
            is_done = ranks.agreed(run.is_done)
            if is_done and not (run.model / "config.json").exists():
                raise DataError(
                    f"{run.folder}: expected the model of a finished run, got none in model/; restore it from a copy, "
                    "or delete the run's folder to train again"
                )
            if not is_done:
                ranks.on_first(lambda: _note_rows(loaded, run))
                _train(recipe, examples, probed, run, ranks, router, on_step, trackers, pause)
            return run.folder


def open_run(
    recipe: Recipe, examples: list[Example], root: Path, probed: Sequence[Example] = (), ranks: Ranks = ALONE
) -> Run:
    """The directory of this recipe on these very examples: other data under the same path is another run.

    Rank 0 opens it, and tells the others.
    """
    opened = None
    if ranks.is_first:
        opened = Run.open(root, recipe.name, recipe.seed, recipe.identity(examples, probed))
    folder = ranks.agreed(None if opened is None else opened.folder)
    assert folder is not None, "rank 0 has one"
    return opened or Run.beside(folder)


def _note_rows(loaded: Loaded, run: Run) -> None:
    loaded.list_refused(run.folder / REFUSED)
    loaded.note_chosen(run.folder / CHOSEN)


def _train(
    recipe: Recipe,
    examples: list[Example],
    probed: Questions,
    run: Run,
    ranks: Ranks,
    router: Router,
    on_step: OnStep,
    trackers: Trackers | None,
    pause: float | None,
) -> None:
    state = State.load(recipe, run, ranks)
    with (
        writer_of(recipe, state, examples) as writer,
        _journal(run, state, trackers) as journal,
        Saving(recipe, state.size, ranks) as saving,
    ):
        sampler = writer.sampler
        steps = ranks.agreed(journal.steps())
        patience, pace = Patience(recipe, steps), Pace(recipe, steps)
        ahead = Ahead(examples, recipe, state, sampler)
        for step in pace.steps(pause):
            began = time.perf_counter()
            with state.policy.whole():  # for all that is written
                pushed, seconds = writer.follow(step)
                pushed_at = time.perf_counter()
                probe = answer_probe(probed, recipe, step, state, sampler, router)
                ready = time.perf_counter()
                batch, samples = Batch(), ahead.first(step, pace.place)
                for number, drawn in enumerate(draws(examples, recipe, step)):
                    if number:
                        samples = sample(mine(drawn, ranks), recipe, state.encoder, sampler, step, pace.place)
                    batch = select(batch, together(score(samples, recipe, router), drawn, ranks), recipe)
                    if len(batch.groups) == recipe.prompts:
                        break
            check_variance(batch, recipe, len(examples), step)
            batch = in_batch_units(batch, recipe)
            selected = time.perf_counter()
            metrics = of_batch(batch, recipe.prompts) | of_sampling(batch.sampled, state.policy.flops)
            metrics |= of_staleness(batch.groups) if recipe.staleness else {}
            metrics |= update(state, batch.groups, recipe, step, pace.place) | probe | pushed
            done = time.perf_counter()
            timing = {**batch.timing, **seconds, "update": done - selected}
            timing |= {"probe": ready - pushed_at} if probe else {}
            record = Step(step=step, metrics=metrics, seconds=done - began, timing=timing)
            record = pace.note(ranks.agreed(record))
            journal.write(record, batch)
            on_step(record)
            if saving.is_due(step + 1) and not pace.is_over:
                saving.carry_out(partial(state.save, run, step + 1))
            if (reason := patience.after(metrics)) is not None:
                state.save(run, step + 1)
                raise NothingEarned(f"{run.folder}: {reason}")
        if not pace.is_over:
            state.save(run, pace.taken)
            with state.policy.whole():
                return ranks.on_first(lambda: state.save_model(run))
        began = time.perf_counter()
        with state.policy.whole():
            if recipe.probe is not None:
                writer.follow(pace.taken)
            probe = answer_probe(probed, recipe, pace.taken, state, sampler, router, is_over=True)
        if probe:
            journal.write(_no_step(pace.taken, probe, time.perf_counter() - began), Batch())
    with state.policy.whole():
        ranks.on_first(lambda: _finish(run, state))


def _finish(run: Run, state: State) -> None:
    state.save_model(run)
    run.finish()
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)


def _journal(run: Run, state: State, trackers: Trackers | None) -> Journal | SilentJournal:
    return Journal(run, state.step, trackers) if state.ranks.is_first else SilentJournal()


def _no_step(steps: int, probe: dict[str, float], seconds: float) -> Step:
    """What a probe found after so many steps, the last."""
    return Step(step=steps, metrics=probe, seconds=seconds, timing={"probe": seconds}, trained=False)
