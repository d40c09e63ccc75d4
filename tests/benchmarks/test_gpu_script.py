"""The measurements of a GPU: a miniature of all of them runs on the CPU, and tells a wrong form from a right one."""

import json
from collections.abc import Iterator
from typing import Any

import gpu
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


@pytest.mark.slow
def test_right_forms_agree_in_float32_and_the_wrong_one_does_not(results: dict[str, Any]) -> None:
    forms = {form: results["small model"][f"float32, {form}"]["result"] for form in (*gpu.FORMS, gpu.LEAKY)}
    wrong = forms.pop(gpu.LEAKY)
    assert all(found["logp"]["max"] < 1e-5 and found["gradient"]["all"] < 1e-5 for found in forms.values())
    assert wrong["logp"]["max"] > 1e-2 and wrong["gradient"]["all"] > 1e-2


@pytest.mark.slow
def test_training_goes_on_after_the_step_in_which_it_was_stopped(results: dict[str, Any]) -> None:
    steps = results["training"]["resumed in step 3"]["result"]
    assert [bool(step["metrics"]) for step in steps] == [True, True, True, True]
    assert steps[1]["metrics"] == steps[2]["metrics"], "a step was repeated from its checkpoint, and came out otherwise"


def test_a_measurement_that_fails_is_kept_as_its_error_and_the_others_go_on() -> None:
    def broken(bench: gpu.Bench) -> Iterator[tuple[str, gpu.Measurement]]:
        yield "first", lambda: 1 // 0
        yield "second", lambda: 2
        raise RuntimeError("no third")

    kept: list[tuple[str, str, Any]] = []
    bench = gpu.Bench(gpu.TINY, "cpu", ends=float("inf"))
    gpu.carry_out(bench, {"one": broken, "two": broken}, lambda *result: kept.append(result))
    assert [(title, name) for title, name, _ in kept] == [
        (title, name) for title in ("one", "two") for name in ("first", "second", "preparation")
    ]
    assert "ZeroDivisionError" in kept[0][2]["error"] and "result" not in kept[0][2]
    assert kept[1][2]["result"] == 2
    assert "no third" in kept[2][2]["error"]


def test_nothing_begins_after_its_time() -> None:
    kept: list[Any] = []
    bench = gpu.Bench(gpu.TINY, "cpu", ends=0.0)
    gpu.carry_out(bench, {"machine": gpu.machine}, lambda *result: kept.append(result))
    assert not kept


def test_a_form_is_left_as_it_was_found() -> None:
    before = attention.WORTHWHILE, packing.block_mask
    with gpu.attention_form(gpu.LEAKY):
        assert packing.block_mask is not before[1]
    assert (attention.WORTHWHILE, packing.block_mask) == before
