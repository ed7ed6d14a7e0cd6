"""The ``.nrv`` stream: integers and bytes only. FORMAT.md beside this file is normative.

Names are imported on first use, so reading a header does not load the entropy coder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypernet.bitstream.container import IndexEntry, SectionType, StreamIndex
    from hypernet.bitstream.header import StreamHeader
    from hypernet.bitstream.limits import DEFAULT_LIMITS, Limits
    from hypernet.bitstream.output import atomic_output
    from hypernet.bitstream.planning import estimate_bits
    from hypernet.bitstream.reader import StreamReader
    from hypernet.bitstream.segment import (
        ClipSymbols,
        SegmentSymbols,
        SegmentTiming,
        decode_segment,
        encode_segment,
        read_segment_timing,
    )
    from hypernet.bitstream.sources import (
        ByteSource,
        BytesSource,
        CountingSource,
        FileSource,
        HttpSource,
    )
    from hypernet.bitstream.steps import nearest_step_index, step_size
    from hypernet.bitstream.writer import SegmentPayload, write_stream

__all__ = [
    "DEFAULT_LIMITS",
    "ByteSource",
    "BytesSource",
    "ClipSymbols",
    "CountingSource",
    "FileSource",
    "HttpSource",
    "IndexEntry",
    "Limits",
    "SectionType",
    "SegmentPayload",
    "SegmentSymbols",
    "SegmentTiming",
    "StreamHeader",
    "StreamIndex",
    "StreamReader",
    "atomic_output",
    "decode_segment",
    "encode_segment",
    "estimate_bits",
    "nearest_step_index",
    "read_segment_timing",
    "step_size",
    "write_stream",
]

_MODULES = {
    "container": ("IndexEntry", "SectionType", "StreamIndex"),
    "header": ("StreamHeader",),
    "limits": ("DEFAULT_LIMITS", "Limits"),
    "output": ("atomic_output",),
    "planning": ("estimate_bits",),
    "reader": ("StreamReader",),
    "segment": (
        "ClipSymbols",
        "SegmentSymbols",
        "SegmentTiming",
        "decode_segment",
        "encode_segment",
        "read_segment_timing",
    ),
    "sources": ("BytesSource", "ByteSource", "CountingSource", "FileSource", "HttpSource"),
    "steps": ("nearest_step_index", "step_size"),
    "writer": ("SegmentPayload", "write_stream"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
