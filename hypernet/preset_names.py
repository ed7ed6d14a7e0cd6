"""Names of the presets, for those who must not import torch; `hypernet.presets` has the rest."""

from __future__ import annotations

PRESET_NAMES = (
    "debug",
    "fast",
    "balanced",
    "nerv-s",
    "nerv-m",
    "nerv-l",
    "nerv-paper-s",
    "nerv-paper-m",
    "nerv-paper-l",
    "nerv-plus-s",
    "nerv-plus-m",
    "nerv-plus-l",
    "nerv-plus-paper-s",
    "nerv-plus-paper-m",
    "nerv-plus-paper-l",
    "srnerv-s",
    "srnerv-m",
    "srnerv-l",
    "nirvana",
    "nerv-enc",
    "teconerv",
)
DEFAULT_PRESET = "balanced"


def unknown_preset(name: str) -> str:
    """What to tell somebody who asked for a preset that does not exist."""
    return f"unknown preset {name!r}; choose one of {', '.join(PRESET_NAMES)}"
