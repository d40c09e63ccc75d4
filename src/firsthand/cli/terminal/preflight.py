"""What preflight found out on the terminal: tables when a recipe fits, and one message when it does not."""

import math
from collections.abc import Mapping

from firsthand.cli.terminal.screen import Screen
from firsthand.preflight import PreflightResult
from firsthand.preflight.check import Time
from firsthand.preflight.workload import Workload
from firsthand.recipe import Recipe

_GIB = 2**30


def show(recipe: Recipe, found: PreflightResult) -> None:
    """Print the tables."""
    screen = Screen()
    screen.say(f"recipe {recipe.name}, model {found.folder.name or found.folder}, on {found.machine.name}")
    screen.say(f"precision {found.settled.precision}, optimizer {_optimizer(found.settled)}")
    screen.say(_prompts(found.workload))
    _show_sizes(screen, found)
    _show_memory(screen, found)
    if found.ways:
        _show_ways(screen, found)
    cost = found.cost
    screen.say(
        f"the run: {cost.prompt_tokens:,} tokens of prompts, {cost.generated_tokens:,} generated, "
        f"{cost.trained_tokens:,} trained on; {cost.flops / 1e12:,.3g} TFLOP, as metrics.jsonl counts them"
    )
    if found.time is not None:
        _show_work(screen, found, found.time)
        low, usual, high = found.time.seconds
        screen.say(
            f"expected: {_seconds(usual)} per step ({_seconds(low)} to {_seconds(high)}), "
            f"{_seconds(usual * recipe.taken)} for {recipe.taken} steps ({_seconds(low * recipe.taken)} to "
            f"{_seconds(high * recipe.taken)}); rewards, optimizer, checkpoints and evaluation come on top"
        )


def show_arms(recipes: Mapping[str, Recipe], found: Mapping[str, PreflightResult], seeds: int) -> None:
    """A study's arms, a line each; those that train nothing were not examined."""
    screen = Screen()
    rows = [[arm, *(_arm(recipes[arm], found[arm]) if arm in found else ["-"] * 6)] for arm in recipes]
    screen.table(["arm", "GiB", "largest in", "fits", "a step", "the run", "TFLOP"], rows, numbers=True)
    if not found:
        return
    machine = next(iter(found.values())).machine
    screen.say(f"{_gib(machine.free)} GiB are free ({machine.name}); each arm alone, one after the other")
    known = [(recipes[arm].taken, plan.time.seconds) for arm, plan in found.items() if plan.time is not None]
    if len(known) == len(found):
        low, usual, high = (seeds * math.fsum(steps * one[i] for steps, one in known) for i in range(3))
        over = f", {seeds} seeds" if seeds > 1 else ""
        screen.say(
            f"expected: {_seconds(usual)} of training for all arms{over} ({_seconds(low)} to {_seconds(high)}); "
            "rewards, checkpoints and evaluation come on top"
        )


def _arm(recipe: Recipe, found: PreflightResult) -> list[str]:
    step, run = "-", "-"
    if found.time is not None:
        step, run = (_seconds(found.time.seconds[1] * steps) for steps in (1, recipe.taken))
    fits = "yes" if found.fits else "no"
    return [_gib(found.memory.total), found.memory.worst, fits, step, run, f"{found.cost.flops / 1e12:,.3g}"]


def refusal(recipe: Recipe, found: PreflightResult, arm: str | None = None) -> str:
    """What is said of a recipe that does not fit, or of that of a study's arm: by how much, and what to change."""
    free, needed = found.machine.free, found.memory.total
    lines = [
        f"{recipe.name}: expected a step that fits into {_gib(free)} GiB of free memory ({found.machine.name}), "
        f"got one that needs {_gib(needed)} GiB: {_gib(needed - free)} GiB too much, in the {found.memory.worst}"
    ]
    if found.advice:
        lines.append("change, one on top of the other, the largest effect first:")
        lines += [f"  {_typed(advice.change, arm)}  ->  {_gib(advice.total)} GiB" for advice in found.advice]
    fits = bool(found.advice) and found.advice[-1].total <= free
    lines.append("with all of these it fits" if fits else f"that is not enough: {_smaller(found)}")
    return "\n".join(lines)


def _typed(change: str, arm: str | None) -> str:
    """A change as the command line takes it; a dot in an arm's name would part it there."""
    if arm is None:
        return f"--set '{change}'"
    return f"in the file, in {arm}: {change}" if "." in arm else f"--set 'arms.{arm}.{change}'"


def _prompts(workload: Workload) -> str:
    """Lengths of prompts, and where they come from."""
    of_pictures = round(workload.mean(lambda one: one.image_tokens))
    pictures = f", {of_pictures} of them of pictures" if of_pictures else ""
    mean = round(workload.mean(lambda one: one.prompt))
    longest = f"the longest {workload.longest_prompt} (the first {len(workload.lengths)} examples)"
    return f"prompts: {mean} tokens{pictures}; {longest}"


def _optimizer(recipe: Recipe) -> str:
    return f"{recipe.optimizer.kind}{', on the CPU' if recipe.optimizer.offload else ''}"


def _smaller(found: PreflightResult) -> str:
    """A smaller model, in parameters: all that grows with their number shrinks in proportion."""
    total = sum(map(sum, found.sizes.values()))
    fixed = found.memory.held["process"]
    least = found.advice[-1].total if found.advice else found.memory.total
    share = (found.machine.free - fixed) / (least - fixed)
    if share <= 0:
        return "this machine has no memory left for any model"
    return (
        f"take a model of about {_count(int(total * share))} parameters instead of {_count(total)}, or a larger machine"
    )


def _show_sizes(screen: Screen, found: PreflightResult) -> None:
    rows = [(name, size.trained, size.frozen) for name, size in found.sizes.items() if any(size)]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    lines = [(name, _count(trained), _count(frozen)) for name, trained, frozen in rows]
    screen.say("\nmodel")
    screen.table(("parameters", "trained", "frozen"), lines, numbers=True)


def _show_memory(screen: Screen, found: PreflightResult) -> None:
    """One column per phase: a step needs what the largest of them does."""
    held, phases = found.memory.held, found.memory.phases.values()
    lines = [(name, *[_gib(size)] * len(phases)) for name, size in held.items() if size]
    for name in dict.fromkeys(name for parts in phases for name in parts):
        lines.append((name, *(_gib(parts[name]) if name in parts else "" for parts in phases)))
    lines.append(("all", *(_gib(found.memory.of(phase)) for phase in found.memory.phases)))
    lines.append(("free", *[_gib(found.machine.free)] * len(phases)))
    screen.say("\nmemory at the longest lengths")
    screen.table(("GiB", *found.memory.phases), lines, numbers=True)


def _show_ways(screen: Screen, found: PreflightResult) -> None:
    """What can be trained of the model on a card, with one row per forward, and with gradients checkpointed and not."""
    lines = []
    for plain, checkpointed in zip(found.ways[::2], found.ways[1::2], strict=True):
        fits = [way.total <= found.machine.free for way in (plain, checkpointed)]
        told = "yes" if fits[0] else "with checkpointing" if fits[1] else "no"
        lines.append((plain.trained, plain.precision, _gib(plain.total), _gib(checkpointed.total), told))
    screen.say(f"\nwhat fits into {_gib(found.machine.free)} GiB ({found.machine.name}), one row per forward")
    screen.table(("trained", "precision", "GiB", "checkpointing", "fits"), lines, numbers=True)


def _show_work(screen: Screen, found: PreflightResult, time: Time) -> None:
    """Arithmetic and time of a step's parts, and the share of the measured rate that is used."""
    rates, rows = time.rates, [(name, *cost) for name, cost in time.parts.items()]
    rows.append(("all", sum(row[1] for row in rows), math.fsum(row[2] for row in rows)))
    lines = [
        (name, f"{flops / 1e9:,.1f}", _seconds(seconds), f"{flops / rates.flops / seconds:.0%}" if flops else "")
        for name, flops, seconds in rows
    ]
    screen.say("\nwork at the lengths to expect")
    screen.table(("a step", "GFLOP", "seconds", "of the rate"), lines, numbers=True)
    where = "measured here" if found.machine.is_here else "expected of the card"
    screen.say(
        f"replies of {time.reply:.0f} tokens; {where}: "
        f"{rates.flops / 1e9:,.0f} GFLOP/s, {rates.bytes / 1e9:,.1f} GB/s, {rates.launch * 1e6:.1f} µs per kernel"
    )


def _count(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def _gib(size: int) -> str:
    return f"{size / _GIB:,.3f}" if size < _GIB else f"{size / _GIB:,.1f}"


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
