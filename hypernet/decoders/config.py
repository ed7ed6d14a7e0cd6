"""Decoder configurations as lists of unsigned integers, the form they take in the stream header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

MAX_TUPLE = 32


class DecoderConfig(Protocol):
    """A frozen dataclass whose fields are ``int`` or ``tuple[int, ...]``; it validates itself."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


ConfigT = TypeVar("ConfigT", bound=DecoderConfig)


def config_to_fields(config: DecoderConfig) -> tuple[int, ...]:
    """Flatten a configuration: an int is one value, a tuple is its length and its values."""
    values: list[int] = []
    for field in fields(config):
        value = getattr(config, field.name)
        values += [len(value), *value] if isinstance(value, tuple) else [value]
    return tuple(values)


def config_from_fields(config_type: type[ConfigT], values: Sequence[int]) -> ConfigT:
    """Rebuild a configuration.

    Raises:
        ValueError: too few or too many values, or values the configuration refuses.
    """
    rest = list(values)
    arguments: dict[str, int | tuple[int, ...]] = {}
    for name, kind in get_type_hints(config_type).items():
        if name not in config_type.__dataclass_fields__:
            continue
        if kind is int:
            arguments[name] = _take(rest, 1)[0]
        else:
            length = _take(rest, 1)[0]
            if length > MAX_TUPLE:
                raise ValueError(f"{name} has {length} entries, at most {MAX_TUPLE} are allowed")
            arguments[name] = tuple(_take(rest, length))
    if rest:
        raise ValueError(f"{len(rest)} values too many in the decoder configuration")
    return config_type(**arguments)


def _take(rest: list[int], count: int) -> list[int]:
    if len(rest) < count:
        raise ValueError("the decoder configuration ends too early")
    taken = rest[:count]
    del rest[:count]
    return taken
