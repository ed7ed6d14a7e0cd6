"""Golden streams: committed files that every later version must decode to the same integers.

``REGENERATE_GOLDEN=1`` rewrites them from the encoder. After a release a golden file is never
rewritten or deleted; a change of the encoder's choices gets a new file beside the old one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.segment import (
    TABLE_CODING,
    SegmentSymbols,
    SpecsOf,
    WeightCoding,
    decode_segment,
)
from hypernet.bitstream.sources import BytesSource

FOLDER = Path(__file__).parent
EXPECTED = FOLDER / "expected.json"

Facts = dict[str, Any]


def check_golden(
    name: str,
    encode: Callable[[], bytes],
    describe: Callable[[bytes], Facts],
    *,
    pin_encoder: bool = True,
) -> None:
    """Compare a committed stream with what was recorded about it.

    Args:
        name: of the file ``tests/golden/NAME.nrv``.
        encode: makes the stream; called to regenerate it, or to compare bytes.
        describe: what must stay true of a decoded stream: JSON values, compared exactly.
        pin_encoder: also require that ``encode`` still gives the committed bytes. False where
            encoding involves floats.
    """
    path = FOLDER / f"{name}.nrv"
    if os.environ.get("REGENERATE_GOLDEN") == "1":
        path.write_bytes(encode())
        _record(name, describe(path.read_bytes()))
    stream = path.read_bytes()
    assert describe(stream) == json.loads(EXPECTED.read_text())[name]
    if pin_encoder:
        assert encode() == stream


def describe_symbols(
    stream: bytes, specs_of: SpecsOf, coding: WeightCoding = TABLE_CODING
) -> Facts:
    """Hash of the stream, and a hash of the integers of each segment."""
    reader = StreamReader(BytesSource(stream))
    reader.verify()
    segments = [
        decode_segment(reader.segment(number), specs_of, coding=coding)
        for number in range(len(reader.index.segments))
    ]
    return {
        "stream_sha256": hashlib.sha256(stream).hexdigest(),
        "stream_bytes": len(stream),
        "symbols_sha256": [symbols_digest(segment) for segment in segments],
    }


def symbols_digest(segment: SegmentSymbols) -> str:
    """Hash of timestamps, steps and every weight symbol of a segment."""
    digest = hashlib.sha256()
    digest.update(np.array(segment.pts, dtype="<i8").tobytes())
    for clip in segment.clips:
        digest.update(bytes(clip.step_indices))
        for name, symbols in clip.symbols.items():
            digest.update(name.encode())
            digest.update(symbols.astype("<i4").tobytes())
    return digest.hexdigest()


def _record(name: str, facts: Facts) -> None:
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    expected[name] = facts
    EXPECTED.write_text(json.dumps(expected, indent=2, sort_keys=True) + "\n")
