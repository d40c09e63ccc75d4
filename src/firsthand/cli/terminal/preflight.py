"""What preflight found out on the terminal: tables when a recipe fits, and one message when it does not."""

import math
from collections.abc import Iterable, Sequence

from rich.console import Console as Terminal
from rich.table import Column, Table

from firsthand.preflight import PreflightResult
from firsthand.preflight.workload import Workload
from firsthand.recipe import Recipe

_GIB = 2**30


def show(recipe: Recipe, found: PreflightResult) -> None:
    """Print the tables."""
    terminal = Terminal(highlight=False)
    terminal.print(f"recipe {recipe.name}, model {found.folder.name or found.folder}, on {found.machine.name}")
    terminal.print(_prompts(found.workload))
    terminal.print(_sizes(found), _memory(found))
    other = "without" if recipe.gradient_checkpointing else "with"
    terminal.print(f"activations {other} gradient_checkpointing: {_gib(found.other_activations)} GiB")
    if found.ways:
        terminal.print(_ways(found))
    cost = found.cost
    terminal.print(
        f"the run: {cost.prompt_tokens:,} tokens of prompts, {cost.generated_tokens:,} generated, "
        f"{cost.trained_tokens:,} trained on; {cost.flops / 1e12:,.3g} TFLOP, as metrics.jsonl counts them"
    )
    if found.time is not None:
        terminal.print(_work(found))
        low, usual, high = found.time.seconds
        terminal.print(
            f"expected: {_seconds(usual)} per step ({_seconds(low)} to {_seconds(high)}), "
            f"{_seconds(usual * recipe.steps)} for {recipe.steps} steps ({_seconds(low * recipe.steps)} to "
            f"{_seconds(high * recipe.steps)}); rewards, checkpoints and evaluation come on top"
        )


def refusal(recipe: Recipe, found: PreflightResult) -> str:
    """What is said of a recipe that does not fit: by how much, and what to change."""
    free, needed = found.machine.free, found.memory.total
    lines = [
        f"{recipe.name}: expected a step that fits into {_gib(free)} GiB of free memory ({found.machine.name}), "
        f"got one that needs {_gib(needed)} GiB: {_gib(needed - free)} GiB too much, in the {found.memory.worst}"
    ]
    if found.advice:
        lines.append("change, one on top of the other, the largest effect first:")
        lines += [f"  --set '{advice.change}'  ->  {_gib(advice.total)} GiB" for advice in found.advice]
    fits = bool(found.advice) and found.advice[-1].total <= free
    lines.append("with all of these it fits" if fits else f"that is not enough: {_smaller(found)}")
    return "\n".join(lines)


def _prompts(workload: Workload) -> str:
    """Lengths of prompts, and where they come from."""
    of_pictures = round(workload.mean(lambda one: one.image_tokens))
    pictures = f", {of_pictures} of them of pictures" if of_pictures else ""
    mean = round(workload.mean(lambda one: one.prompt))
    return f"prompts: {mean} tokens{pictures}; the longest {workload.longest_prompt}\n         ({workload.source})"


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


def _sizes(found: PreflightResult) -> Table:
    rows = [(name, size.trained, size.frozen) for name, size in found.sizes.items() if any(size)]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    lines = [(name, _count(trained), _count(frozen)) for name, trained, frozen in rows]
    return _table("model", ("parameters", "trained", "frozen"), lines)


def _memory(found: PreflightResult) -> Table:
    """One column per phase: a step needs what the largest of them does."""
    held, phases = found.memory.held, found.memory.phases.values()
    lines = [(name, *[_gib(size)] * len(phases)) for name, size in held.items() if size]
    for name in dict.fromkeys(name for parts in phases for name in parts):
        lines.append((name, *(_gib(parts[name]) if name in parts else "" for parts in phases)))
    lines.append(("all", *(_gib(sum(held.values()) + sum(parts.values())) for parts in phases)))
    table = _table("memory at the longest lengths", ("GiB", *found.memory.phases), lines)
    table.add_row("free", *[_gib(found.machine.free)] * len(phases))
    return table


def _ways(found: PreflightResult) -> Table:
    """What can be trained of the model on a card, with one row per forward, and how many tokens in one at most."""
    lines = [
        (
            way.trained,
            "yes" if way.gradient_checkpointing else "no",
            _gib(way.total),
            "yes" if way.fits else "no",
            "-" if way.most is None else f"{way.most:,}",
        )
        for way in found.ways
    ]
    columns = ("trained", "checkpointing", "GiB", "fits", "tokens_per_forward up to")
    return _table(f"what fits into {_gib(found.machine.free)} GiB ({found.machine.name})", columns, lines)


def _work(found: PreflightResult) -> Table:
    """Arithmetic and time of a step's parts, and the share of the measured rate that is used."""
    assert found.time is not None
    rates, rows = found.time.rates, [(name, *cost) for name, cost in found.time.parts.items()]
    rows.append(("all", sum(row[1] for row in rows), math.fsum(row[2] for row in rows)))
    lines = [
        (name, f"{flops / 1e9:,.1f}", _seconds(seconds), f"{flops / rates.flops / seconds:.0%}" if flops else "")
        for name, flops, seconds in rows
    ]
    table = _table("work at the lengths to expect", ("a step", "GFLOP", "seconds", "of the rate"), lines)
    where = "expected of the card" if found.ways else "measured here"
    table.caption = (
        f"replies of {found.time.reply:.0f} tokens; {where}: "
        f"{rates.flops / 1e9:,.0f} GFLOP/s, {rates.bytes / 1e9:,.1f} GB/s, {rates.launch * 1e6:.1f} µs per kernel"
    )
    return table


def _table(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    """Names on the left, numbers on the right, sums in bold."""
    numbers = [Column(name, justify="right") for name in columns[1:]]
    table = Table(columns[0], *numbers, title=title, title_justify="left")
    for line in lines:
        table.add_row(*line, style="bold" if line[0] == "all" else None)
    return table


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
