"""What several tests of data use."""

from pathlib import Path

import pytest
from userdata import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with pictures, good and bad."""
    fill(tmp_path)
    return tmp_path
