from __future__ import annotations

import importlib.machinery
import shutil
from pathlib import Path

import pytest
import torch

from hypernet.native import library
from hypernet.native.pointers import floats, octets

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")
def test_where_there_is_a_compiler_there_are_kernels() -> None:
    assert library.kernels() is library.built()


@pytest.mark.parametrize("content", [None, b"", b"built on another kind of machine"])
def test_kernels_that_cannot_be_loaded_are_as_if_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / f"_kernels{SUFFIX}").write_bytes(content)
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    assert library.kernels.__wrapped__() is None


@pytest.mark.usefixtures("without_kernels")
def test_who_calls_absent_kernels_is_told() -> None:
    with pytest.raises(ValueError, match="were not built"):
        library.built()


def test_only_plain_tensors_become_pointers() -> None:
    values, levels = torch.tensor([1.5, 2.5]), torch.tensor([3, 4], dtype=torch.uint8)
    assert (floats(values)[1], octets(levels)[1]) == (2.5, 4)
    for tensor in (torch.zeros(2, 3).T, torch.zeros(2, dtype=torch.float64)):
        with pytest.raises(ValueError, match="cannot read"):
            floats(tensor)
    with pytest.raises(ValueError, match="cannot read"):
        octets(torch.zeros(2))
