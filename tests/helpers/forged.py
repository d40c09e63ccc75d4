"""What a forge has written, for comparisons."""

import hashlib
from pathlib import Path


def data_set(out: Path) -> dict[str, str]:
    """Every file of a data set, by content; what is for going on or for looking at is left out."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and ".work" not in path.parts]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "report.html"
    }
