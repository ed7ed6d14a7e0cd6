"""Fitted methods side by side: equal bytes, several sizes and budgets, and a curve over time.

Every row is a whole segment, coded and decoded again. For each method, size and budget the price of
a bit is sought at which the bytes are those of the size, within 2 %; that trial is the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from hypernet.decoders.config import DecoderConfig
from hypernet.decoders.nerv import NervConfig
from hypernet.decoders.sizing import (
    SizeTarget,
    nerv_plus_config,
    num_weights,
    srnerv_config,
)
from hypernet.errors import InvalidSettings
from hypernet.evaluation import provenance
from hypernet.evaluation.fit_trial import FittedSegment, Moment
from hypernet.evaluation.run_table import RunTable
from hypernet.evaluation.suites import find_clips, scaled_frames
from hypernet.fitted_presets import NERV, NERV_PLUS, NIRVANA, SRNERV, FittedFamily
from hypernet.weights import ClipShape

CURVE_POINTS = 20


def _unshared(clip: ClipShape, target: SizeTarget) -> DecoderConfig:
    return replace(srnerv_config(clip, target), shared=0)


def _even(clip: ClipShape, target: SizeTarget) -> DecoderConfig:
    plus = nerv_plus_config(clip, target)
    return NervConfig(
        frequencies=plus.frequencies,
        hidden=plus.hidden,
        widths=plus.widths,
        strides=plus.strides,
        head_kernel=plus.head_kernel,
        head_stride=plus.head_stride,
    )


METHODS: dict[str, FittedFamily] = {
    "nerv": NERV,
    "nerv-even": replace(NERV, label="NeRV, widths of NeRV++", sized=_even),
    "nerv-plus": NERV_PLUS,
    "srnerv": SRNERV,
    "srnerv-unshared": replace(SRNERV, label="SRNeRV, a mixer per scale", sized=_unshared),
    "nirvana": NIRVANA,
}
PUBLISHED = ("nerv", "nerv-plus", "srnerv", "nirvana")
"""Methods of papers; the others are there to be compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What is measured: the first frames of clips, made ``width x height`` by averaging.

    ``sizes`` are bits per pixel by name; ``points`` are sizes and budgets (in epochs), in the order
    in which they are measured.
    """

    clips: tuple[str, ...] = ("bunny",)
    frames: int = 32
    width: int = 320
    height: int = 180
    sizes: Mapping[str, float] = field(default_factory=lambda: {"s": 0.05, "m": 0.1, "l": 0.2})
    points: Sequence[tuple[str, int]] = (("m", 20), ("s", 20), ("l", 20), ("m", 5), ("m", 40))


LAPTOP = Profile()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileRow:
    """One fit. ``cpu_seconds`` are the process's own, for machines that others use too."""

    clip: str
    method: str
    size: str
    epochs: int
    frames: int
    width: int
    height: int
    target_bytes: int
    bytes: int
    psnr_db: float
    ms_ssim: float | None
    encode_seconds: float
    cpu_seconds: float
    decode_frames_per_second: float
    kilo_multiply_adds_per_pixel: float
    weights: int
    steps: int
    trials: int
    learning_rate: float
    rate_weight: float
    bytes_per_clip: str
    commit: str
    cpu: str
    threads: int
    load_average: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveRow:
    """Quality while a fit runs, as the fit itself estimates it (weights noisy, then rounded)."""

    clip: str
    method: str
    size: str
    epochs: int
    step: int
    seconds: float
    cpu_seconds: float
    psnr_db: float
    bits_per_pixel: float
    commit: str


def run_profile(
    *,
    suite: str,
    out: Path,
    name: str = "fit-laptop",
    profile: Profile = LAPTOP,
    methods: Sequence[str] = PUBLISHED,
    fresh: bool = False,
    on_row: Callable[[ProfileRow], None] = lambda _: None,
) -> Path:
    """Measure every method at every size and budget; resumes where it was interrupted.

    Args:
        suite: ``val``, ``standard`` or a folder, in which the profile's clips are.
        out: folder of the tables ``NAME.tsv`` and ``NAME-curve.tsv``.
        name: of the tables.
        profile: what to measure.
        methods: of ``METHODS``.
        fresh: start the tables over.
        on_row: called after each fit.

    Returns:
        The table.

    Raises:
        InvalidSettings: no such clip or method, or the table holds rows of another commit.
        UnreadableInput, OutputNotWritable: a clip, the tables.
    """
    if unknown := set(methods) - METHODS.keys():
        raise InvalidSettings(f"unknown method {min(unknown)!r}; choose of {', '.join(METHODS)}")
    table = RunTable[ProfileRow](out / f"{name}.tsv", ProfileRow, fresh=fresh)
    curve = RunTable[CurveRow](out / f"{name}-curve.tsv", CurveRow, fresh=fresh)
    for path in find_clips(suite, profile.clips):
        frames_TCHW = scaled_frames(path, profile.frames, profile.width, profile.height)
        segments = {
            (method, size): FittedSegment(METHODS[method], frames_TCHW, bits)
            for method, (size, bits) in product(methods, profile.sizes.items())
        }  # each remembers what a bit had to cost when it is asked for another budget
        for (size, epochs), method in product(profile.points, methods):
            key = {"clip": path.name, "method": method, "size": size, "epochs": epochs}
            if table.holds(**key):
                continue
            row, points = _measured(segments[method, size], path.name, method, size, epochs)
            for point in points:
                curve.append(point)
            table.append(row)
            on_row(row)
    return table.path


def _measured(
    segment: FittedSegment, clip: str, method: str, size: str, epochs: int
) -> tuple[ProfileRow, list[CurveRow]]:
    load, commit = provenance.load_average(), provenance.commit()
    trial, trials = segment.of_target_size(epochs)
    decoded = segment.decoded(trial.payload)
    decoder = segment.decoder_of(segment.clip_frames)
    last = trial.moments[-1]
    row = ProfileRow(
        clip=clip,
        method=method,
        size=size,
        epochs=epochs,
        frames=segment.shape.frames,
        width=segment.shape.width,
        height=segment.shape.height,
        target_bytes=segment.target_bytes,
        bytes=len(trial.payload),
        psnr_db=round(decoded.psnr_db, 3),
        ms_ssim=None if decoded.ms_ssim is None else round(decoded.ms_ssim, 5),
        encode_seconds=round(last.seconds, 2),
        cpu_seconds=round(last.cpu_seconds, 2),
        decode_frames_per_second=round(segment.shape.frames / decoded.seconds, 1),
        kilo_multiply_adds_per_pixel=round(decoder.multiply_adds_per_pixel() / 1000, 3),
        weights=num_weights(decoder),
        steps=trial.steps,
        trials=trials,
        learning_rate=segment.family.learning_rate,
        rate_weight=round(trial.rate_weight, 6),
        bytes_per_clip=",".join(map(str, segment.bytes_per_clip(trial.payload))),
        commit=commit,
        cpu=provenance.processor(),
        threads=torch.get_num_threads(),
        load_average=load,
    )
    chosen = np.linspace(0, len(trial.moments) - 1, CURVE_POINTS).round().astype(int)
    moments = [trial.moments[i] for i in sorted(set(chosen.tolist()))]
    return row, [_point(row, moment) for moment in moments]


def _point(row: ProfileRow, moment: Moment) -> CurveRow:
    return CurveRow(
        clip=row.clip,
        method=row.method,
        size=row.size,
        epochs=row.epochs,
        step=moment.step,
        seconds=round(moment.seconds, 3),
        cpu_seconds=round(moment.cpu_seconds, 3),
        psnr_db=round(moment.progress.psnr_db, 3),
        bits_per_pixel=round(moment.progress.bits_per_pixel, 5),
        commit=row.commit,
    )
