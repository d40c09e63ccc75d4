"""The measurements of a GPU: a miniature of all of them runs on the CPU, and tells a wrong form from a right one."""

import gc
import json
import time
import weakref
from collections.abc import Iterator
from typing import Any

import gpu
import gpu_bench
import gpu_forms
import pytest

from firsthand.policy import attention, packing


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    gpu.main(["--tiny", "--device", "cpu", "--minutes", "30", "--out", str(path)])
    return dict(json.loads(path.read_text()))


@pytest.mark.slow
def test_every_measurement_of_the_miniature_succeeds(results: dict[str, Any]) -> None:
    assert list(results) == ["environment", *gpu.SECTIONS]
    failed = [
        f"{name}: {found['error']}"
        for title in gpu.SECTIONS
        for name, found in results[title].items()
        if "error" in found
    ]
    assert not failed, "\n".join(failed)
    skipped = {
        name.rpartition(", ")[2]
        for title in gpu.SECTIONS
        for name, found in results[title].items()
        if "skipped" in found
    }
    assert skipped == {*gpu_forms.CANDIDATES, gpu_forms.FUSED_VARLEN}, "on a CPU nothing else is left out"


@pytest.mark.slow
def test_right_forms_agree_in_float32_and_the_wrong_one_does_not(results: dict[str, Any]) -> None:
    forms = {form: results["small model"][f"float32, {form}"]["result"] for form in (*gpu_forms.FORMS, gpu_forms.LEAKY)}
    wrong = forms.pop(gpu_forms.LEAKY)
    assert all(found["logp"]["max"] < 1e-5 and found["gradient"]["all"] < 1e-5 for found in forms.values())
    assert wrong["logp"]["max"] > 1e-2 and wrong["gradient"]["all"] > 1e-2


@pytest.mark.slow
def test_both_sides_make_one_gradient_of_a_step_and_take_their_times(results: dict[str, Any]) -> None:
    update, full = (results["step"][name]["result"] for name in ("update", "full step"))
    norms = [update[side]["norm of the gradient"] for side in ("firsthand", "TRL")]
    assert norms[0] == pytest.approx(norms[1], rel=0.01)  # weights are bfloat16
    assert {"slots", "slots, compiled", "TRL"} <= full.keys()
    ratios = [theirs / ours for ours, theirs in zip(full["slots"]["all"], full["TRL"]["all"], strict=True)]
    assert full["slots"]["range"] == [min(ratios), max(ratios)]


@pytest.mark.slow
def test_training_goes_on_after_the_step_in_which_it_was_stopped(results: dict[str, Any]) -> None:
    steps = results["training"]["resumed in step 3"]["result"]
    assert [bool(step["metrics"]) for step in steps] == [True, True, True, True]
    assert steps[1]["metrics"] == steps[2]["metrics"], "a step was repeated from its checkpoint, and came out otherwise"


def carried_out(ends: float = float("inf"), **sections: gpu_bench.Section) -> list[tuple[str, str, Any]]:
    """What is kept of these sections: title, name and result of each measurement."""
    kept: list[tuple[str, str, Any]] = []
    gpu_bench.carry_out(gpu_bench.Bench(gpu.TINY, "cpu", ends), sections, lambda *result: kept.append(result))
    return kept


def test_a_measurement_that_fails_is_kept_as_its_error_and_the_others_go_on() -> None:
    def broken(bench: gpu_bench.Bench) -> Iterator[tuple[str, gpu_bench.Measurement]]:
        yield "first", lambda: 1 // 0
        yield "second", lambda: 2
        raise RuntimeError("no third")

    section = gpu_bench.Section(broken, 60)
    kept = carried_out(one=section, two=section)
    assert [(title, name) for title, name, _ in kept] == [
        (title, name) for title in ("one", "two") for name in ("first", "second", "preparation")
    ]
    assert "ZeroDivisionError" in kept[0][2]["error"] and "result" not in kept[0][2]
    assert kept[1][2]["result"] == 2
    assert "no third" in kept[2][2]["error"]


def test_what_is_not_here_is_kept_as_what_it_is_not_as_an_error() -> None:
    def lacking(bench: gpu_bench.Bench) -> Iterator[tuple[str, gpu_bench.Measurement]]:
        def measure() -> None:
            raise gpu_bench.Skipped("peer was not brought")

        yield "one", measure

    [(_, _, found)] = carried_out(peer=gpu_bench.Section(lacking, 60))
    assert found["skipped"] == "peer was not brought" and "error" not in found


def two(_: gpu_bench.Bench) -> Iterator[tuple[str, gpu_bench.Measurement]]:
    yield "first", lambda: time.sleep(0.05)
    yield "second", lambda: None


def test_a_section_ends_with_its_own_time_and_the_next_begins() -> None:
    kept = carried_out(short=gpu_bench.Section(two, 0.04), long=gpu_bench.Section(two, 60))
    assert [result[:2] for result in kept] == [("short", "first"), ("long", "first"), ("long", "second")]


def test_a_section_has_what_those_before_it_have_left() -> None:
    kept = carried_out(quick=gpu_bench.Section(lambda _: iter(()), 60), short=gpu_bench.Section(two, 0.04))
    assert [result[:2] for result in kept] == [("short", "first"), ("short", "second")]


def test_a_measurement_is_gone_with_its_model_before_the_next_is_prepared() -> None:
    class Model:
        """Something that memory is needed for."""

    alive: list[bool] = []

    def section(bench: gpu_bench.Bench) -> Iterator[tuple[str, gpu_bench.Measurement]]:
        model = Model()
        known = weakref.ref(model)
        yield "first", lambda model=model: None
        del model
        gc.collect()
        alive.append(known() is not None)

    carried_out(one=gpu_bench.Section(section, 60))
    assert alive == [False]


def test_the_sections_have_the_whole_time_between_them() -> None:
    assert sum(section.seconds for section in gpu.SECTIONS.values()) <= 480


def test_nothing_begins_after_its_time() -> None:
    assert not carried_out(ends=0.0, machine=gpu.SECTIONS["machine"])


def test_a_form_is_left_as_it_was_found() -> None:
    before = attention.WORTHWHILE, packing.block_mask
    with gpu_forms.attention_form(gpu_forms.LEAKY):
        assert packing.block_mask is not before[1]
    assert (attention.WORTHWHILE, packing.block_mask) == before
