"""Options that several commands share, and how their values are parsed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hypernet.errors import InvalidSettings

Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.", metavar="OUT")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def parse_frames(text: str | None) -> tuple[int, int | None]:
    """``A:B`` as a half-open range of frames; either side may be empty.

    Raises:
        InvalidSettings: not of that form, or empty.
    """
    if text is None:
        return 0, None
    match = re.fullmatch(r"(\d*):(\d*)", text)
    if match is None:
        raise InvalidSettings(f"--frames {text}: write A:B, for instance 10:20")
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and stop <= start:
        raise InvalidSettings(f"--frames {text}: the range is empty")
    return start, stop


def parse_size(option: str, text: str) -> tuple[int, int]:
    """``WxH`` in pixels.

    Raises:
        InvalidSettings: naming the option; not of that form, or out of 1..8192.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not all(1 <= int(side) <= 8192 for side in match.groups()):
        raise InvalidSettings(f"{option} {text}: write WxH, each in 1..8192, for instance 640x360")
    return int(match[1]), int(match[2])


def parse_list(text: str) -> list[str]:
    """``A,B,C``; nothing for nothing."""
    return [part for part in text.split(",") if part]


def parse_numbers(option: str, text: str) -> list[int]:
    """Whole numbers, ``1,2,3``.

    Raises:
        InvalidSettings: naming the option and what is not one.
    """
    for part in parse_list(text):
        if not part.isdecimal():
            raise InvalidSettings(f"{option} {text}: {part!r} is not a whole number")
    return [int(part) for part in parse_list(text)]


def parse_decimals(option: str, text: str) -> list[float]:
    """Numbers, ``0.5,2``.

    Raises:
        InvalidSettings: naming the option and what is not one.
    """
    try:
        return [float(part) for part in parse_list(text)]
    except ValueError as error:
        raise InvalidSettings(f"{option} {text}: numbers are needed, as in 0.5,2") from error
