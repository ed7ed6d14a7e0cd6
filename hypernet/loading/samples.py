"""Clips with their labels, and several of them as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate

from hypernet.errors import InvalidSettings


class Sample(NamedTuple):
    """One clip.

    Attributes:
        frames: ``(T, C, H, W)``, uint8 or float32 in 0 to 1, RGB.
        label: of the stream, -1 without labels.
        stream: number of the stream in the set.
        first_frame: where in the stream the clip begins.
    """

    frames: Tensor
    label: int
    stream: int
    first_frame: int


class Batch(NamedTuple):
    """Several clips.

    Attributes:
        frames: ``(B, T, C, H, W)`` on the loader's device; a list of ``(T, C, H, W)`` where lists
            were asked for.
        label: ``(B,)`` int64 on the CPU, like all that follow.
        stream: numbers of the streams in the set.
        first_frame: where in the streams the clips begin.
    """

    frames: Tensor | list[Tensor]
    label: Tensor
    stream: Tensor
    first_frame: Tensor


def collate(samples: Sequence[Sample], names: Sequence[str], *, as_list: bool = False) -> Batch:
    """Samples as a batch; ``names`` are those of all streams, for the error.

    Raises:
        InvalidSettings: frames of different sizes, unless as a list.
    """
    frames = [sample.frames for sample in samples]
    if not as_list:
        _check_sizes(samples, names)
    return Batch(
        frames if as_list else default_collate(frames),  # into shared memory, in a worker
        *(torch.tensor(numbers) for numbers in list(zip(*samples, strict=True))[1:]),
    )


def _check_sizes(samples: Sequence[Sample], names: Sequence[str]) -> None:
    first = samples[0]
    for other in samples[1:]:
        if other.frames.shape != first.frames.shape:
            one, two = (
                f"{names[s.stream]} ({s.frames.shape[-1]}x{s.frames.shape[-2]})"
                for s in (first, other)
            )
            raise InvalidSettings(
                f"{one} and {two} have different sizes and cannot be one batch: "
                "choose a size= or a crop=, or batches as lists"
            )
