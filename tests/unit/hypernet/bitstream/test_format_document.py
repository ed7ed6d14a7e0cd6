from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from hypernet.bitstream import container, header, segment, steps, tables
from hypernet.bitstream.header import HEADER_FIELDS
from hypernet.bitstream.limits import Limits
from tests.unit.hypernet.bitstream.test_tables import SHA256

DOCUMENT = (Path(header.__file__).parent / "FORMAT.md").read_text()


def table_after(heading: str) -> list[list[str]]:
    """Rows of the first table after a heading, without its title row."""
    text = DOCUMENT.split(f"{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert lines is not None
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")] for line in lines[0].splitlines()
    ]
    return rows[2:]


def test_header_fields_are_exactly_those_declared() -> None:
    declared = [
        [name, field.kind, field.allowed, field.meaning] for name, field in HEADER_FIELDS.items()
    ]
    assert table_after("## 2. Header payload") == declared


def test_limits_are_exactly_those_declared() -> None:
    declared = [[field.name, str(field.default)] for field in dataclasses.fields(Limits)]
    assert table_after("## 7. Limits") == declared


def test_constants_are_those_of_the_code() -> None:
    assert f"version {container.MAJOR_VERSION}.{container.MINOR_VERSION}" in DOCUMENT
    assert container.SIGNATURE.hex(" ").upper() in DOCUMENT
    assert f"| preamble | {container.PREAMBLE_BYTES} |" in DOCUMENT
    assert f"{container.INDEX_ENTRY_BYTES} bytes per section" in DOCUMENT
    assert f"a u16 count (at most {header.MAX_CONFIG_FIELDS})" in DOCUMENT
    assert SHA256 in DOCUMENT
    assert f"{tables.NUM_TABLES} tables" in DOCUMENT
    assert "do not exceed 2^61" in DOCUMENT
    assert segment.MAX_PTS == 1 << 61
    for octave in range(steps.STEPS_PER_OCTAVE):
        assert float.hex(steps.step_size(176 + octave)).removesuffix("0000000p+0") in DOCUMENT
    for section in container.SectionType:
        assert f"{section.value} {section.name.lower()}" in DOCUMENT
