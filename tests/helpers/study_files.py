"""What a study has found, for comparing two of them."""

import hashlib
import json
from pathlib import Path
from typing import Any

TIMES = {"minutes", "seconds"}
"""Keys of results.json that are wall time: all that may differ."""


def without_times(content: Any) -> Any:
    """Numbers that are no wall time."""
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if key not in TIMES}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def journals(out: Path) -> dict[str, list[Any]]:
    """Every step that was journalled, and every group of replies, run by run."""
    paths = sorted([*out.glob("*/metrics.jsonl"), *out.glob("*/rollouts.jsonl")])
    return {
        str(path.relative_to(out)): [_untimed(json.loads(line)) for line in path.read_text().splitlines()]
        for path in paths
    }


def _untimed(step: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in {"seconds", "timing"}}


def found(out: Path) -> tuple[Any, dict[str, str], dict[str, list[Any]]]:
    """What a study has found, the hashes of the weights that it has trained and of the replies that it judged, and its
    journals."""
    kept = [*out.glob("*/model/model.safetensors"), *out.glob("*/scores.jsonl"), *out.glob("tune/tuned.json")]
    hashes = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}
    return without_times(json.loads((out / "results.json").read_text())), hashes, journals(out)
