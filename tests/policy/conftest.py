"""What several tests of the policy use."""

import pytest
import torch

from firsthand.policy import attention


@pytest.fixture(params=["square", "blocks"])
def attention_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute attention in one masked square per row, or only its blocks that are not empty."""
    monkeypatch.setattr(attention, "WORTHWHILE", {"square": torch.inf, "blocks": 0.0}[request.param])
    return str(request.param)
