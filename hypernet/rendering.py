"""Frames of one segment's clips, one clip after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypernet.bitstream.segment import ClipSymbols
from hypernet.bitstream.steps import step_size
from hypernet.decoders.coding_order import Step, nearest_frame
from hypernet.decoders.native_tubelet import NativeClip, SparseGrid
from hypernet.decoders.tubelet import Tubelet, is_native
from hypernet.device_memory import memory_of
from hypernet.packed_integers import PackedIntegers
from hypernet.quantization import dequantize
from hypernet.segment_decoder import SegmentDecoder
from hypernet.weights import WeightSpec

BATCH_BYTES = 256 << 20  # activations rendered at once


Network = Callable[[Tensor], Tensor]
"""Times ``(N,)`` to ``frames_NCHW``, RGB in [0, 1]."""


class Renderer:
    """Frames of the decoded clips of one segment; nearest frames of reference clips are kept.

    Args:
        decoders: of the stream.
        clips: of the segment; those that are not asked for may still be without symbols.
        keep: how many networks are kept: of as many clips as are rendered in turns.
        show_references: reference clips will be rendered, too, so their networks are made whole.
    """

    def __init__(
        self,
        decoders: SegmentDecoder,
        clips: Sequence[ClipSymbols],
        keep: int = 1,
        *,
        show_references: bool = False,
    ) -> None:
        self._decoders, self._clips = decoders, clips
        self._nearest: dict[tuple[int, int], Tensor] = {}
        self._networks: dict[int, Network] = {}
        self._keep, self._show_references = keep, show_references
        self._making_nearest = threading.RLock()

    def pictures(self, number: int, times: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """8-bit frames of a clip at the given times."""
        for network, times_N in self._parts(number, times):
            with torch.inference_mode(), memory_of(self._decoders.device):
                levels_NHWC = levels(network, times_N)
            yield from levels_NHWC.numpy()

    def rendered(self, number: int) -> Tensor:
        """All frames of a clip, ``(T, 3, H, W)`` in [0, 1]."""
        parts = self._parts(number, range(self._clips[number].num_frames))
        with torch.inference_mode(), memory_of(self._decoders.device):
            return torch.cat([network(times_N) for network, times_N in parts])

    def _parts(self, number: int, times: Sequence[int]) -> Iterator[tuple[Network, Tensor]]:
        """A clip's network, and as many times as are rendered at once."""
        device = self._decoders.device
        decoder = self._decoders.decoder_of(self._clips[number].num_frames)
        # On a CPU, what lies between two layers of one frame just fits into the cache.
        fitting = 1 if device.type == "cpu" else BATCH_BYTES // decoder.activation_bytes()
        all_times = torch.tensor(times, dtype=torch.float32, device=device)
        network = self._bound(number)
        for times_N in torch.split(all_times, max(1, min(8, fitting))):
            yield network, times_N

    def _bound(self, number: int) -> Network:
        """The network of a clip, made where it is not among those used last."""
        network = self._networks.pop(number, None)
        if network is None:
            # Before the new one is made, so that no more are ever held.
            while len(self._networks) >= self._keep:
                self._networks.pop(next(iter(self._networks)), None)
            with torch.inference_mode():
                network = self._made(number)
        self._networks[number] = network
        return network

    def _made(self, number: int) -> Network:
        decoder = self._decoders.decoder_of(self._clips[number].num_frames)
        if is_native(decoder):
            return self._native(number, decoder)
        return decoder.bind(self._weights(number, decoder.weight_specs()))

    def _native(
        self, number: int, decoder: Tubelet, times: Sequence[float] | None = None
    ) -> NativeClip:
        """A clip as C kernels render it, at some times or at all."""
        *specs, grid_spec = decoder.weight_specs()
        clip = self._clips[number]
        symbols = PackedIntegers.pack(clip.symbols[grid_spec.name])
        grid = SparseGrid.of(symbols, step_size(clip.step_indices[-1]))
        return decoder.native(grid, self._weights(number, specs), times)

    def _weights(self, number: int, specs: Sequence[WeightSpec]) -> dict[str, Tensor]:
        """The first weights of a clip, and what it departs from."""
        clip = self._clips[number]
        steps = clip.step_indices[: len(specs)]
        weights = dequantize(specs, clip.symbols, steps, self._decoders.device)
        departs = self._decoders.decoder_of(clip.num_frames).departs_from_reference
        if departs and clip.reference is not None:
            weights["reference"] = self.nearest(Step(clip=number, reference=clip.reference))
        return weights

    def nearest(self, step: Step) -> Tensor:
        """What a clip departs from: the frame of its reference clip that is next to it.

        Raises:
            ValueError: the step has no reference.
        """
        if step.reference is None:
            raise ValueError(f"clip {step.clip} has no reference")
        frame, _ = nearest_frame(step, self._clips[step.reference].num_frames)
        key = (step.reference, frame)
        # Clips that depart from the same frame may be rendered at the same time.
        with self._making_nearest:
            if key not in self._nearest:
                with torch.inference_mode(), memory_of(self._decoders.device):
                    self._nearest[key] = self._one_frame(step.reference, frame)
            return self._nearest[key]

    def _one_frame(self, number: int, frame: int) -> Tensor:
        time = torch.tensor([float(frame)], device=self._decoders.device)
        if self._show_references or number in self._networks:
            return self._bound(number)(time)[0]
        # A network that is made for one frame takes an eighth of the memory.
        decoder = self._decoders.decoder_of(self._clips[number].num_frames)
        if is_native(decoder):
            return self._native(number, decoder, [float(frame)])(time)[0]
        return decoder.render(self._weights(number, decoder.weight_specs()), time)[0]


def levels(network: Network, times_N: Tensor) -> Tensor:
    """``frames_NHWC`` of a network, 8-bit RGB on the CPU."""
    if isinstance(network, NativeClip):
        return network.levels(times_N)
    return to_uint8(network(times_N))


def to_uint8(frames_NCHW: Tensor) -> Tensor:
    """RGB in [0, 1] as ``frames_NHWC`` uint8 on the CPU, out-of-range values clipped."""
    return to_levels(frames_NCHW).permute(0, 2, 3, 1).contiguous().cpu()


def to_levels(frames: Tensor) -> Tensor:
    """RGB in [0, 1] as uint8, out-of-range values clipped."""
    # By way of 16 bits, for which there are vector instructions: a quarter of the time.
    return frames.mul(255).add_(0.5).clamp_(0, 255).to(torch.int16).to(torch.uint8)
