"""What a table of measurements says: BD-rate and bytes at equal PSNR, per clip then mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from hypernet.evaluation.anchors import ANCHORS
from hypernet.evaluation.bd_rate import RatePoint, bd_psnr_db, bd_rate_percent, rate_at_psnr
from hypernet.evaluation.floors import FLOORS
from hypernet.evaluation.table import Row

DEFAULT_PSNRS_DB = (28.0, 30.0, 32.0)
MEAN = "mean"

Curves = dict[str, dict[str, list[RatePoint]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """The codecs of a table: those under test, anchors and floors, in order of appearance."""

    tests: tuple[str, ...]
    anchors: tuple[str, ...]
    floors: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Every codec, tests first."""
        return self.tests + self.anchors + self.floors


@dataclass(frozen=True, kw_only=True, slots=True)
class BdRow:
    """A codec against an anchor on one clip, or the mean over the clips that compare.

    ``rate_clips`` and ``psnr_clips`` say how many clips are behind the two values.
    """

    codec: str
    anchor: str
    clip: str
    bd_rate_percent: float | None
    bd_psnr_db: float | None
    rate_clips: int
    psnr_clips: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class EqualPsnrRow:
    """Rate of a codec at one PSNR, over the clips where both it and the anchor reach it.

    ``ratio`` is the codec's bytes over the anchor's (geometric mean over clips);
    ``bits_per_pixel`` and ``anchor_bits_per_pixel`` are arithmetic means over the same clips.
    """

    codec: str
    anchor: str
    psnr_db: float
    ratio: float | None
    bits_per_pixel: float | None
    anchor_bits_per_pixel: float | None
    clips: int


def roles_of(rows: Iterable[Row]) -> Roles:
    """Sort the codecs of a table by what they are there for."""
    anchors, floors = {codec.name for codec in ANCHORS}, {codec.name for codec in FLOORS}
    names = tuple(dict.fromkeys(row.codec for row in rows))
    return Roles(
        tests=tuple(name for name in names if name not in anchors | floors),
        anchors=tuple(name for name in names if name in anchors),
        floors=tuple(name for name in names if name in floors),
    )


def curves_of(rows: Iterable[Row]) -> Curves:
    """Rate points (bits per pixel) by clip, then codec."""
    curves: Curves = {}
    for row in rows:
        point = RatePoint(rate=row.bits_per_pixel, psnr_db=row.psnr_db)
        curves.setdefault(row.clip, {}).setdefault(row.codec, []).append(point)
    return curves


def bd_rows(rows: Sequence[Row]) -> list[BdRow]:
    """Every codec under test against every anchor and those under test before it.

    Each clip, then the mean.
    """
    curves, roles = curves_of(rows), roles_of(rows)
    result: list[BdRow] = []
    for place, codec in enumerate(roles.tests):
        for anchor in (*roles.anchors, *roles.tests[:place]):
            per_clip = [_bd_row(codec, anchor, clip, of_clip) for clip, of_clip in curves.items()]
            result += [*per_clip, _mean_bd_row(codec, anchor, per_clip)]
    return result


def equal_psnr_rows(
    rows: Sequence[Row], psnrs_db: Sequence[float] = DEFAULT_PSNRS_DB
) -> list[EqualPsnrRow]:
    """Every codec under test against every anchor at each PSNR, mean over clips."""
    curves, roles = curves_of(rows), roles_of(rows)
    return [
        _equal_psnr_row(codec, anchor, psnr_db, curves)
        for codec in roles.tests
        for anchor in roles.anchors
        for psnr_db in psnrs_db
    ]


def rates_at(
    rows: Sequence[Row], codec: str, psnrs_db: Sequence[float] = DEFAULT_PSNRS_DB
) -> list[tuple[float | None, int]]:
    """Mean bits per pixel of a codec at each PSNR, and the number of clips that reach it."""
    curves = [of_clip.get(codec, []) for of_clip in curves_of(rows).values()]
    result: list[tuple[float | None, int]] = []
    for psnr_db in psnrs_db:
        rates = [rate for curve in curves if (rate := rate_at_psnr(curve, psnr_db)) is not None]
        result.append((_mean(rates), len(rates)))
    return result


def _bd_row(codec: str, anchor: str, clip: str, of_clip: dict[str, list[RatePoint]]) -> BdRow:
    reference, test = of_clip.get(anchor, []), of_clip.get(codec, [])
    rate, psnr = bd_rate_percent(reference, test), bd_psnr_db(reference, test)
    return BdRow(
        codec=codec,
        anchor=anchor,
        clip=clip,
        bd_rate_percent=rate.value,
        bd_psnr_db=psnr.value,
        rate_clips=int(rate.value is not None),
        psnr_clips=int(psnr.value is not None),
        reason="; ".join(dict.fromkeys(filter(None, (rate.reason, psnr.reason)))),
    )


def _mean_bd_row(codec: str, anchor: str, per_clip: Sequence[BdRow]) -> BdRow:
    rates = [row.bd_rate_percent for row in per_clip if row.bd_rate_percent is not None]
    psnrs = [row.bd_psnr_db for row in per_clip if row.bd_psnr_db is not None]
    left_out = len(per_clip) - len(rates)
    return BdRow(
        codec=codec,
        anchor=anchor,
        clip=MEAN,
        bd_rate_percent=_mean(rates),
        bd_psnr_db=_mean(psnrs),
        rate_clips=len(rates),
        psnr_clips=len(psnrs),
        reason=f"{left_out} of {len(per_clip)} clips do not compare in rate" if left_out else "",
    )


def _equal_psnr_row(codec: str, anchor: str, psnr_db: float, curves: Curves) -> EqualPsnrRow:
    pairs: list[tuple[float, float]] = []
    for of_clip in curves.values():
        ours = rate_at_psnr(of_clip.get(codec, []), psnr_db)
        theirs = rate_at_psnr(of_clip.get(anchor, []), psnr_db)
        if ours is not None and theirs is not None:
            pairs.append((ours, theirs))
    log_ratio = _mean([math.log(ours / theirs) for ours, theirs in pairs])
    return EqualPsnrRow(
        codec=codec,
        anchor=anchor,
        psnr_db=psnr_db,
        ratio=None if log_ratio is None else math.exp(log_ratio),
        bits_per_pixel=_mean([ours for ours, _ in pairs]),
        anchor_bits_per_pixel=_mean([theirs for _, theirs in pairs]),
        clips=len(pairs),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
