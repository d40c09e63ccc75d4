"""docs/performance.md has the tables that its files make, and no others."""

import json
import re
from pathlib import Path

import gpu_tables
import pytest
import scale_on_paper

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/performance.md").read_text()


def test_the_page_has_the_tables_of_its_files_and_no_others() -> None:
    files = sorted(set(re.findall(r"benchmarks/results/gpu-[\w.-]+\.json", PAGE)))
    assert files
    results = [json.loads((ROOT / name).read_text()) for name in files]
    made = [table for found in results for table in gpu_tables.tables(found).values()]
    [whole] = [found for found in results if gpu_tables.result_of(found, "step", "full step")]
    made.append(scale_on_paper.scale(whole))
    assert sorted(re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)) == sorted(f"{table}\n" for table in made)


def test_the_page_names_the_card_and_the_day_of_its_files() -> None:
    for name in set(re.findall(r"benchmarks/results/gpu-[\w.-]+\.json", PAGE)):
        found = json.loads((ROOT / name).read_text())["environment"]
        assert found["card"] in PAGE and found["date"][:10] in PAGE


@pytest.mark.parametrize(
    ("number", "text"),
    [(15.77, "16"), (2.137, "2.1"), (0.251, "0.25"), (0.0368, "0.037"), (2.86e-6, "2.9e-6"), (1234.5, "1.2e3")],
)
def test_two_digits_count(number: float, text: str) -> None:
    assert gpu_tables.short(number) == text


def test_what_was_not_measured_has_no_row_column_or_table() -> None:
    results = {"update": {"time": {"error": "..."}}, "rollout": {"1 prompts": {"skipped": "..."}}}
    assert gpu_tables.tables(results) == {}
    gaps = {"result": {"logp": {"max": 1.0}, "gradient": {"all": 1.0}}}
    forms = gpu_tables.forms({"equivalence": {"bfloat16, varlen": gaps, "bfloat16, flex": {"skipped": "..."}}})
    assert forms == "| form | bfloat16 |\n|---|---|\n| varlen | 1.0, 1.0 |"


def test_a_step_that_fits_in_parts_or_not_at_all_is_told_from_one_that_fits() -> None:
    cards = {
        "80 GB": {"fits": True, "retries": 0.0, "GiB at most": 20.0, "seconds": 0.5},
        "48 GB": {"fits": True, "retries": 2.0},
        "24 GB": {"fits": False},
    }
    results = {
        "memory": {"3B": {"result": cards}, "7B": {"skipped": "not brought"}},
        "preflight": {"3B": {"result": {"GiB of an update step": 22.0, "to what was measured": 1.1}}},
    }
    assert gpu_tables.memory(results).splitlines()[2:] == [
        "| 3B | 20.0 | 0.50 | yes | in parts (2) | no | 22.0 | 1.10 |"
    ]


def test_ratios_stand_beside_seconds_and_the_peer_has_none() -> None:
    ours = {"seconds": 1.0, "TRL takes times as long": 3.0, "range": [2.5, 3.5]}
    update = {"firsthand": {"seconds": 0.5, "useful share of the peak": 0.4}}
    results = {
        "step": {"update": {"result": update}, "full step": {"result": {"slots": ours, "TRL": {"seconds": 3.0}}}}
    }
    assert gpu_tables.step(results).splitlines()[2:] == [
        "| firsthand, slots | 0.50 | 40 % | 1.00 | 3.00 (2.50 to 3.50) |",
        "| TRL | | | 3.00 | |",
    ]
