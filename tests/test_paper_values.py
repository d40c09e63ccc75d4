"""The table of methods beside their papers is made of the presets, and each row names a test that is there."""

import re
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from firsthand.objective import PRESETS

ROOT = Path(__file__).parents[1]
MADE = runpy.run_path(str(ROOT / "scripts/paper_values.py"))
ROWS = MADE["ROWS"]
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("tests/**/test_*.py")))


def paths(content: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Every value of a mapping by its dotted path."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from paths({k: v for k, v in value.items() if k != "kind"}, f"{at}{key}.")
        else:
            yield at + key


def test_the_page_has_the_table_that_the_presets_give() -> None:
    page = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert MADE["table"]() in page, "python scripts/paper_values.py has another table; put it into docs/methods.md"


def test_every_method_of_a_paper_is_in_the_table_with_all_that_its_preset_sets() -> None:
    assert {row.kind for row in ROWS} == set(PRESETS) - {"sft"}  # which has no paper of its own
    told = {(row.kind, row.key) for row in ROWS}
    for kind, preset in PRESETS.items():
        wanted = {*paths(preset.objective, "objective."), *paths(preset.recipe)} - {"objective.dft"}
        assert {key for key in wanted if (kind, key) not in told} == set(), kind


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.key}")
def test_a_preset_has_its_paper_s_value(row: Any) -> None:
    """Or a reason why not, and none where it has; and the test that shows it is there."""
    assert row.deviates == bool(row.why), (row.paper, row.ours)
    assert len(re.findall(rf"^def {row.test}\(", TESTS, re.MULTILINE)) == 1
