"""Full steps of both sides on a GPU: taken in turns, and where one of them cannot be, without it."""

import gpu_bench
import gpu_step
import pytest
from gpu_workload import TINY


def test_sides_take_turns_and_ratios_are_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {("ours", 1): 2.0, ("TRL", 1): 6.0, ("ours", 2): 1.0, ("TRL", 2): 5.0}
    order: list[tuple[str, int]] = []

    def seconds(self: gpu_bench.Bench, action: object) -> float:
        action()  # type: ignore[operator]
        return taken[order[-1]]

    monkeypatch.setattr(gpu_bench.Bench, "seconds", seconds)
    bench = gpu_bench.Bench(TINY, "cpu", ends=float("inf"))
    actions = {name: (lambda number, name=name: order.append((name, number))) for name in ("ours", "TRL")}
    found = gpu_step.in_turns(bench, actions, rounds=2)
    assert order == [("ours", 1), ("TRL", 1), ("TRL", 2), ("ours", 2)]
    assert found["ours"] == {"seconds": 1.5, "all": [2.0, 1.0], "TRL takes times as long": 4.0, "range": [3.0, 5.0]}
    assert found["TRL"] == {"seconds": 5.5, "all": [6.0, 5.0]}


def test_a_side_that_fails_is_left_out_of_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(ours: gpu_step.Ours, root: str) -> gpu_step.Side:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu_step, "theirs", broken)
    kept = {}
    bench = gpu_bench.Bench(TINY, "cpu", ends=float("inf"))
    sections = {"step": gpu_bench.Section(gpu_step.step, 600)}
    gpu_bench.carry_out(bench, sections, lambda title, name, result: kept.update({name: result}))
    assert "no such kernel" in kept["TRL, first step"]["error"]
    full = kept["full step"]["result"]
    assert full.keys() == {"slots", "slots, compiled"} and all(
        len(side["all"]) == gpu_step.ROUNDS for side in full.values()
    )
    assert kept["update"]["result"]["firsthand"]["norm of the gradient"] > 0
