from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open

from hypernet.tensor_file import tensor_bytes

TENSORS = {
    "kernel": torch.arange(6, dtype=torch.float16).view(2, 3),
    "table": torch.tensor([1, -2, 3], dtype=torch.int8),
}
METADATA = {key: f"{key} é" for key in ("format", "decoder", "prior", "transformer", "tokens")}


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(tensor_bytes(TENSORS, METADATA))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == METADATA
        assert set(file.keys()) == set(TENSORS)
        for name, value in TENSORS.items():
            found = file.get_tensor(name)
            assert found.dtype == value.dtype
            assert torch.equal(found, value)


def test_the_bytes_are_always_the_same() -> None:
    data = tensor_bytes(TENSORS, METADATA)
    assert all(tensor_bytes(TENSORS, METADATA) == data for _ in range(20))
    expected = "9a88c9028056ef9d"
    assert hashlib.sha256(data).hexdigest()[:16] == expected
