from __future__ import annotations

import pytest

from hypernet.native import library

pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a C compiler."""
    monkeypatch.setattr(library, "kernels", lambda: None)
