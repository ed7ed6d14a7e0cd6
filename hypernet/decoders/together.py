"""Several clips of one shape rendered in one batch, by whatever is fastest for their decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hypernet.decoders.base import Decoder
from hypernet.decoders.tubelet import Tubelet


def bind_together(
    decoder: Decoder,
    weights_B: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    only_B1: Tensor | None = None,
) -> Callable[[Tensor], Tensor]:
    """The networks of several clips as one.

    Args:
        decoder: of every clip.
        weights_B: a batch of each weight, ``(B, *spec.shape)``; ``reference`` as in ``render``.
        dtype: of the convolutions, of decoders that have any; bfloat16 is faster where there is
            hardware for it.
        only_B1: the one time of each clip that will be asked for, if there is but one.

    Returns:
        Times ``(B, N)`` to ``frames_BNCHW``, each clip as ``decoder.render`` gives it, up to
        rounding.
    """
    if isinstance(decoder, Tubelet):
        return decoder.bind_batch(weights_B, only_B1)
    device = next(iter(weights_B.values())).device
    # Batched weights make convolutions grouped, which pays where launching them is what costs.
    batched = torch.vmap(decoder.render) if device.type == "cuda" else None

    def frames(times_BN: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            if batched is not None:
                rendered: Tensor = batched(dict(weights_B), times_BN)
                return rendered.float()
            clips = [
                decoder.render({name: value[i] for name, value in weights_B.items()}, times_N)
                for i, times_N in enumerate(times_BN)
            ]
            return torch.stack(clips).float()

    return frames
