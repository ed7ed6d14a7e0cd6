"""Fits at equal steps, rate-aware against other methods, and their integers under other coders."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import brotli
import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.weights import encode_weights
from hypernet.decoders import build_decoder, config_to_fields
from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.suites import find_clips
from hypernet.evaluation.table import write_tsv
from hypernet.fitting import FitSettings, fit
from hypernet.preset import Preset
from hypernet.presets import find_preset, rate_factor, rate_weight
from hypernet.quantization import Symbols, dequantize
from hypernet.rate_distortion import decoded_quality
from hypernet.weights import ClipShape

METHODS: dict[str, dict[str, bool]] = {
    "rate-aware": {},
    "then-8-bit": {"eight_bit": True},
    "float32": {"float32": True},  # where the others use bfloat16
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FitRow:
    """One fit: ``bytes`` of the coded weights, and of the same integers under other coders."""

    clip: str
    preset: str
    quality: int
    method: str
    steps: int
    frames: int
    width: int
    height: int
    weights: int
    bytes: int
    order0_bytes: int
    zstd_bytes: int
    brotli_bytes: int
    psnr_db: float
    fit_seconds: float
    commit: str
    cpu: str
    threads: int
    load_average: float | None


def run_fit(
    *,
    suite: str,
    table: Path,
    presets: Sequence[str] = ("nerv-s",),
    qualities: Sequence[int] = (30, 50, 70),
    clips: Sequence[str] = (),
    methods: Sequence[str] = tuple(METHODS),
    steps: int = 400,
    max_frames: int = 64,
    on_row: Callable[[FitRow], None] = lambda _: None,
) -> list[FitRow]:
    """Fit every clip with every preset, quality and method, and write the table.

    Args:
        suite: ``val``, ``standard`` or a folder of clips.
        table: TSV file; replaced.
        presets: fitted presets.
        qualities: sizes of the network.
        clips: only clips whose file name contains one of these.
        methods: of ``METHODS``.
        steps: gradient steps of every fit.
        max_frames: each clip is cut to its first frames, one clip of weights.
        on_row: called after each fit.

    Raises:
        InvalidSettings: no clips, an unknown preset or method, or a preset of many clips.
        OutputNotWritable: the table cannot be written.
    """
    if unknown := set(methods) - METHODS.keys():
        raise InvalidSettings(f"unknown method {min(unknown)!r}; choose of {', '.join(METHODS)}")
    if chained := [name for name in presets if find_preset(name).clip_frames is not None]:
        raise InvalidSettings(
            f"{chained[0]} has several clips in a segment; --profile laptop measures it"
        )
    rows: list[FitRow] = []
    columns = [field.name for field in dataclasses.fields(FitRow)]
    for path in find_clips(suite, clips):
        frames_TCHW = _frames(path, max_frames)
        for preset, quality, method in product(map(find_preset, presets), qualities, methods):
            row = _row(path.name, frames_TCHW, preset, quality, method=method, steps=steps)
            rows.append(row)
            write_tsv(table, columns, [dataclasses.astuple(r) for r in rows])
            on_row(row)
    return rows


def order0_bits(symbols: Symbols) -> float:
    """Sum over tensors of the empirical order-0 entropy, tables not counted."""
    total = 0.0
    for values in symbols.values():
        counts = np.unique(values, return_counts=True)[1]
        total -= float((counts * np.log2(counts / values.size)).sum())
    return total


def packed(symbols: Mapping[str, NDArray[np.int32]]) -> bytes:
    """The integers in the narrowest type that holds them, tensor after tensor, for byte coders."""
    flat = np.concatenate([values.ravel() for values in symbols.values()])
    kind = next(k for k in (np.int8, np.int16, np.int32) if np.all(flat == flat.astype(k)))
    return flat.astype(kind).tobytes()


def _row(
    clip: str, frames_TCHW: Tensor, preset: Preset, quality: int, *, method: str, steps: int
) -> FitRow:
    count, _, height, width = frames_TCHW.shape
    shape = ClipShape(frames=count, height=height, width=width)
    config = preset.configure(shape, rate_factor(quality))
    decoder = build_decoder(preset.decoder, config_to_fields(config), shape)
    specs = decoder.weight_specs()
    load, started = provenance.load_average(), time.perf_counter()
    settings = FitSettings(
        rate_weight=rate_weight(preset, quality, decoder),
        steps=steps,
        learning_rate=preset.learning_rate,
        **METHODS[method],
    )
    fitted = fit(decoder, frames_TCHW, settings)
    seconds = time.perf_counter() - started
    weights = dequantize(specs, fitted.symbols, fitted.step_indices)
    integers = packed(fitted.symbols)
    return FitRow(
        clip=clip,
        preset=preset.name,
        quality=quality,
        method=method,
        steps=fitted.steps,
        frames=count,
        width=width,
        height=height,
        weights=sum(spec.size for spec in specs),
        bytes=len(encode_weights(fitted.symbols, specs)),
        order0_bytes=round(order0_bits(fitted.symbols) / 8),
        zstd_bytes=len(zstandard.ZstdCompressor(level=19).compress(integers)),
        brotli_bytes=len(brotli.compress(integers, quality=11)),
        psnr_db=round(decoded_quality(decoder, weights, frames_TCHW).psnr_db, 3),
        fit_seconds=round(seconds, 2),
        commit=provenance.commit(),
        cpu=provenance.processor(),
        threads=torch.get_num_threads(),
        load_average=load,
    )


def _frames(path: Path, max_frames: int) -> Tensor:
    frames = np.stack(list(islice(read_rgb(path), max_frames)))
    return torch.from_numpy(frames).permute(0, 3, 1, 2)
