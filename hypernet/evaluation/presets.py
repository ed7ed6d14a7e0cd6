"""Our own presets, as codecs to measure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hypernet.codec import encode_file
from hypernet.decoding import open_stream
from hypernet.evaluation.codecs import EncodeStats, stats_since
from hypernet.evaluation.metrics import Frame
from hypernet.plan import EncodeSettings
from hypernet.preset import Preset
from hypernet.presets import find_preset

PREDICTED_QUALITIES = (20, 40, 60, 80)
FITTED_QUALITIES = (30, 70)
SOUGHT_QUALITY = 0
"""Stands for no quality: a preset that seeks one by itself is asked for nothing else."""
SIZES = ("s", "m", "l")


@dataclass(frozen=True, kw_only=True, slots=True)
class PresetCodec:
    """A preset, or a family of them, with the bounds it is run under.

    Its quality is ``--quality``, 1 to 100; that of a family counts its ``sizes``, each at its
    middle quality. ``steps`` caps gradient steps per segment and ``budget_seconds`` the wall time
    of one encoding; None leaves the preset's own. Both are part of the name, because they change
    the result.
    """

    preset: str
    sizes: tuple[str, ...] = ()
    qualities: tuple[int, ...] = PREDICTED_QUALITIES
    steps: int | None = None
    budget_seconds: float | None = None
    seed: int = 0
    device: str = "auto"
    suffix: str = field(default=".nrv", init=False)

    @property
    def name(self) -> str:
        """The preset, with its bounds where they are set: ``nerv-s@60s``, ``nerv-s/m/l@60s``."""
        sizes = "-" + "/".join(self.sizes) if self.sizes else ""
        steps = "" if self.steps is None else f"@{self.steps}steps"
        budget = "" if self.budget_seconds is None else f"@{self.budget_seconds:g}s"
        return f"{self.preset}{sizes}{steps}{budget}"

    @property
    def threads(self) -> int:
        """Threads that torch computes with."""
        return torch.get_num_threads()

    def encode(self, source: Path, output: Path, quality: int) -> EncodeStats:
        """Encode as ``nrv encode`` does, verifying decode included."""
        settings = EncodeSettings(
            preset=f"{self.preset}-{self.sizes[quality]}" if self.sizes else self.preset,
            quality=None if self.sizes or quality == SOUGHT_QUALITY else quality,
            steps=self.steps,
            budget_seconds=self.budget_seconds,
            seed=self.seed,
            device=self.device,
        )
        start = time.perf_counter()
        result = encode_file(source, output, settings)
        return stats_since(start, output, result.device)

    def decode(self, path: Path) -> Iterator[Frame]:
        """The frames of the stream, from its bytes alone."""
        with open_stream(path) as stream:
            for frame in stream.frames():
                yield frame.rgb_HWC


def line_up(
    names: Sequence[str], qualities: tuple[int, ...], budget_seconds: float
) -> list[PresetCodec]:
    """Presets to be measured beside each other, each with a ladder that makes it a curve.

    Args:
        names: of presets; the sizes of one family become one codec.
        qualities: of every preset, or none for those that suit it.
        budget_seconds: of every fit.

    Raises:
        InvalidSettings: unknown preset.
    """
    families: dict[str, list[str]] = {}
    for name in names:
        family, _, size = name.rpartition("-")
        families.setdefault(family if size in SIZES else name, []).append(name)
    codecs = []
    for family, members in families.items():
        if len(members) > 1 and not qualities:
            sizes = tuple(name.rpartition("-")[2] for name in members)
            ladder = tuple(range(len(sizes)))
            codecs.append(
                PresetCodec(
                    preset=family, sizes=sizes, qualities=ladder, budget_seconds=budget_seconds
                )
            )
        else:
            codecs += [_alone(find_preset(name), qualities, budget_seconds) for name in members]
    return codecs


def _alone(preset: Preset, qualities: tuple[int, ...], budget_seconds: float) -> PresetCodec:
    if preset.predictor is None:
        ladder = qualities or FITTED_QUALITIES
        return PresetCodec(preset=preset.name, qualities=ladder, budget_seconds=budget_seconds)
    sought = preset.target_psnr_db is not None
    suited = (SOUGHT_QUALITY,) if sought else PREDICTED_QUALITIES
    return PresetCodec(preset=preset.name, qualities=qualities or suited)
