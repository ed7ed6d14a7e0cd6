"""The one place that imports timm.

timm imports torchvision, whose compiled operators may not match the installed torch (a CUDA build
of torchvision beside a CPU build of torch). Nothing here uses those operators, but torchvision
registers fake implementations for two of them on import and fails if their schemas are absent; so
they are declared when the compiled extension cannot be loaded. A no-op where the pair matches.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from hypernet.predictor.deferred_compiler import deferred_compiler

_SCHEMAS = ("nms", "qnms")


def _load_compiled_operators() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for extension in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return True
    return False


def _declare_missing_operators() -> torch.library.Library | None:
    if _load_compiled_operators():
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in _SCHEMAS:
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


# Kept alive: the declarations vanish with the library object.
_library = _declare_missing_operators()

with deferred_compiler():
    from timm.layers.weight_init import trunc_normal_
    from timm.models.vision_transformer import Block

__all__ = ["Block", "trunc_normal_"]
