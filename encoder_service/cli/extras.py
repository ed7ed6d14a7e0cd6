"""Optional parts of the installation, and what to say when one is missing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from encoder_service.errors import InvalidConfiguration

# Extras as in pyproject.toml, and the modules that they bring and that commands import.
EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "service": (
            "alembic",
            "boto3",
            "botocore",
            "fastapi",
            "prometheus_client",
            "psycopg",
            "pydantic",
            "python_multipart",
            "sqlalchemy",
            "starlette",
            "uvicorn",
        ),
        "worker": ("billiard", "celery", "flower", "kombu", "redis"),
        "bench": ("matplotlib", "pytorch_msssim"),
        "train": ("timm", "torchvision"),
    }
)


def require_extra(extra: str) -> None:
    """Refuse to go on without the modules of an extra.

    Raises:
        InvalidConfiguration: one is missing.
    """
    for module in EXTRAS[extra]:
        if module not in sys.modules and find_spec(module) is None:
            raise missing(extra, module)


def missing(extra: str, module: str) -> InvalidConfiguration:
    """What to tell somebody whose installation lacks ``module``."""
    return InvalidConfiguration(
        f"this command needs {module}, which is not installed: pip install 'nrv[{extra}]'"
    )


def extra_of(module: str | None) -> str | None:
    """The extra that brings a module; None for one that no extra brings."""
    top = (module or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)
