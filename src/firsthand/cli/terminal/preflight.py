"""A plan on the terminal: tables when it fits, and one message when it does not."""

import math
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from firsthand.preflight import Plan
from firsthand.preflight.workload import Workload
from firsthand.recipe import Recipe

GIB = 2**30


def show(recipe: Recipe, plan: Plan, terminal: Terminal | None = None) -> None:
    """Print the tables of a plan."""
    terminal = terminal or Terminal(highlight=False)
    terminal.print(f"recipe {recipe.name}, model {_name(plan.folder)}, on {plan.machine.name}")
    for line in data_lines(plan.workload):
        terminal.print(line)
    terminal.print(_sizes(plan), _memory(plan))
    other = "without" if recipe.gradient_checkpointing else "with"
    terminal.print(f"activations {other} gradient_checkpointing: {_gib(plan.turned)} GiB")
    if plan.time is not None:
        terminal.print(_work(plan))
        low, usual, high = plan.time.seconds
        terminal.print(
            f"expected: {_seconds(usual)} per step ({_seconds(low)} to {_seconds(high)}), "
            f"{_seconds(usual * recipe.steps)} for {recipe.steps} steps ({_seconds(low * recipe.steps)} to "
            f"{_seconds(high * recipe.steps)}); rewards, checkpoints and evaluation come on top"
        )


def refusal(recipe: Recipe, plan: Plan) -> str:
    """What is said of a recipe that does not fit: by how much, and what to change."""
    missing = plan.memory.total - plan.machine.free
    lines = [
        f"{recipe.name}: expected a step that fits into {_gib(plan.machine.free)} GiB of free memory "
        f"({plan.machine.name}), got one that needs {_gib(plan.memory.total)} GiB: {_gib(missing)} GiB too much, "
        f"in the {plan.memory.worst}"
    ]
    if plan.advice:
        lines.append("change, one on top of the other, the largest effect first:")
        lines += [f"  --set '{advice.change}'  ->  {_gib(advice.total)} GiB" for advice in plan.advice]
    fits = bool(plan.advice) and plan.advice[-1].total <= plan.machine.free
    lines.append("with all of these it fits" if fits else f"that is not enough: {_smaller(plan)}")
    return "\n".join(lines)


def data_lines(workload: Workload) -> list[str]:
    """Lengths of prompts, and where they come from."""
    pictures = f", {workload.image_tokens} of them of pictures" if workload.image_tokens else ""
    return [
        f"prompts: {workload.prompt} tokens{pictures}; the longest {workload.longest_prompt}",
        f"         ({workload.source})",
    ]


def _smaller(plan: Plan) -> str:
    """A smaller model, in parameters: all that grows with their number shrinks in proportion."""
    total = sum(size.frozen + size.trained for size in plan.sizes.values())
    fixed = plan.memory.held["process"]
    least = plan.advice[-1].total if plan.advice else plan.memory.total
    share = (plan.machine.free - fixed) / (least - fixed)
    if share <= 0:
        return "this machine has no memory left for any model"
    return (
        f"take a model of about {_count(int(total * share))} parameters instead of {_count(total)}, or a larger machine"
    )


def _sizes(plan: Plan) -> Table:
    table = Table("parameters", "trained", "frozen", title="model", title_justify="left")
    _right(table)
    for name, size in plan.sizes.items():
        if size.trained or size.frozen:
            table.add_row(name, _count(size.trained), _count(size.frozen))
    trained, frozen = (sum(size[i] for size in plan.sizes.values()) for i in (1, 0))
    table.add_row("all", _count(trained), _count(frozen), style="bold")
    return table


def _memory(plan: Plan) -> Table:
    """One column per phase: a step needs what the largest of them does."""
    memory = plan.memory
    phases = list(memory.phases)
    table = Table("GiB", *phases, title="memory at the longest lengths", title_justify="left")
    _right(table)
    for name, size in memory.held.items():
        if size:
            table.add_row(name, *[_gib(size)] * len(phases))
    for name in dict.fromkeys(name for parts in memory.phases.values() for name in parts):
        table.add_row(name, *(_gib(parts[name]) if name in parts else "" for parts in memory.phases.values()))
    held = sum(memory.held.values())
    table.add_row("all", *(_gib(held + sum(parts.values())) for parts in memory.phases.values()), style="bold")
    table.add_row("free", *[_gib(plan.machine.free)] * len(phases))
    return table


def _work(plan: Plan) -> Table:
    """Arithmetic and time of a step's parts, and the share of the measured rate that is used."""
    assert plan.time is not None
    table = Table(
        "a step", "GFLOP", "seconds", "of the rate", title="work at the lengths to expect", title_justify="left"
    )
    _right(table)
    rate = plan.time.rates.flops
    parts = plan.time.parts
    for name, cost in parts.items():
        share = f"{cost.flops / rate / cost.seconds:.0%}" if cost.flops else ""
        table.add_row(name, f"{cost.flops / 1e9:,.1f}", _seconds(cost.seconds), share)
    flops, seconds = sum(c.flops for c in parts.values()), math.fsum(c.seconds for c in parts.values())
    table.add_row("all", f"{flops / 1e9:,.1f}", _seconds(seconds), f"{flops / rate / seconds:.0%}", style="bold")
    rates = plan.time.rates
    table.caption = (
        f"replies of {plan.time.reply:.0f} tokens; measured here: "
        f"{rates.flops / 1e9:,.0f} GFLOP/s, {rates.bytes / 1e9:,.1f} GB/s, {rates.launch * 1e6:.1f} µs per kernel"
    )
    return table


def _right(table: Table) -> None:
    for column in table.columns[1:]:
        column.justify = "right"


def _name(folder: Path) -> str:
    return folder.name or str(folder)


def _count(number: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def _gib(size: int) -> str:
    return f"{size / GIB:,.3f}" if size < GIB else f"{size / GIB:,.1f}"


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
