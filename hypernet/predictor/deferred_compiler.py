"""Imports of libraries that only might use torch's compiler, without importing the compiler.

torchvision and timm take two functions of ``torch._dynamo`` when they are imported. It comes with
a thousand modules, which take longer to import than all else and 150 MB of memory, and neither
function is called by what is used here. While the libraries are imported, stand-ins answer for
``torch._dynamo``: they hand out functions that import the real one when they are called, as torch
does itself. Whoever wants anything else of it gets the real one at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

from torch._compile import _disable_dynamo

_PACKAGE = "torch._dynamo"
_UTILS = f"{_PACKAGE}.utils"


class _StandIn(ModuleType):
    """Has what it was given; who asks for anything else is answered by the real module."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and self.__name__ != _PACKAGE:  # asked by every import from a module
            raise AttributeError(name)
        _withdraw()
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred_compiler() -> Iterator[None]:
    """Within the block, importing ``torch._dynamo`` is put off; a no-op where it is imported."""
    if _PACKAGE not in sys.modules:
        sys.modules[_PACKAGE] = _stand_in(_PACKAGE, disable=_disable)
        sys.modules[_UTILS] = _stand_in(_UTILS, is_compile_supported=_is_compile_supported)
    try:
        yield
    finally:
        _withdraw()


def _stand_in(name: str, **functions: Callable[..., Any]) -> _StandIn:
    module = _StandIn(name)
    # Whoever looks through all modules for a file is no reason to import this one.
    module.__file__ = None
    vars(module).update(functions)
    return module


def _withdraw() -> None:
    for name in (_PACKAGE, _UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _disable(function: Any = None, recursive: bool = True, **options: Any) -> Any:
    """``torch._dynamo.disable``."""
    if isinstance(function, FunctionType):
        return _disable_dynamo(function, recursive)  # torch's own deferral
    _withdraw()
    return importlib.import_module(_PACKAGE).disable(function, recursive, **options)


def _is_compile_supported(device_type: Any) -> Any:
    """``torch._dynamo.utils.is_compile_supported``."""
    _withdraw()
    return importlib.import_module(_UTILS).is_compile_supported(device_type)
