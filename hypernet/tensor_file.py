"""Tensors as the bytes of a file, always the same: model files are named by their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

_LENGTH_BYTES = 8
_ALIGNMENT = 8


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with its metadata in the given order; ``save`` writes it in any."""
    data: bytes = save(dict(tensors))
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = {"__metadata__": dict(metadata)} | json.loads(data[_LENGTH_BYTES:start])
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // _ALIGNMENT) * _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + data[start:]
