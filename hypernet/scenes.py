"""What must be rendered for pending frames: which frames of which clips, and how much of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from hypernet.bitstream.header import StreamHeader
from hypernet.bitstream.steps import step_size
from hypernet.crop import Crop
from hypernet.decoders import Decoder
from hypernet.decoders.coding_order import Step, nearest_frame
from hypernet.decoders.native_tubelet import NativeClip, SparseGrid
from hypernet.decoders.spectrum import GRID_CELL
from hypernet.decoders.tubelet import Tubelet
from hypernet.decoders.tubelet_window import cut_out, reference_window_of, window_of
from hypernet.pending import PendingFrames
from hypernet.segment_decoder import SegmentDecoder, clip_places


class Scene:
    """One pending segment: which frames of which clips must be rendered, and what for.

    Attributes:
        crop: what is wanted of each frame.
        windows: what must be rendered of each clip's frames, so that the crop is right.
        nearest: rendered frames, by clip and number, that other clips depart from.
        outputs: positions at which each frame is wanted.
        references: frames that other clips depart from.
        depth: how many clips the longest chain has, less one.
    """

    def __init__(self, pending: PendingFrames, decoders: SegmentDecoder, crop: Crop | None) -> None:
        self.pending, self.decoders = pending, decoders
        self.crop = _crop_of(pending.header, crop)
        self.nearest: dict[tuple[int, int], Tensor] = {}
        self.outputs: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self.references: set[tuple[int, int]] = set()
        clip_frames = [clip.num_frames for clip in pending.clips]
        for position, place in enumerate(clip_places(clip_frames, pending.frames)):
            self.outputs[place].append(position)
        self._depths: dict[int, int] = {}
        for clip in {clip for clip, _ in self.outputs}:
            self._enter(clip)
        self.depth = max(self._depths.values(), default=-1)
        self.windows = self._find_windows()

    def jobs(self, depth: int) -> Iterator[Job]:
        """The clips that need ``depth`` others to be rendered first."""
        wanted = sorted({*self.outputs, *self.references})
        for clip in sorted(n for n, its_depth in self._depths.items() if its_depth == depth):
            yield Job(self, clip, tuple(time for number, time in wanted if number == clip))

    def near(self, clip: int) -> tuple[int, int] | None:
        """The clip and frame that a clip departs from."""
        number = self.pending.clips[clip].reference
        if number is None or not self.decoders.decoder_of(1).departs_from_reference:
            return None
        step = Step(clip=clip, reference=number)
        return number, nearest_frame(step, self.pending.clips[number].num_frames)[0]

    def decoder_of(self, clip: int) -> Decoder:
        """For whole frames."""
        return self.decoders.decoder_of(self.pending.clips[clip].num_frames)

    def weights_of(
        self, clip: int, names: Sequence[str], device: torch.device
    ) -> dict[str, Tensor]:
        """Some of a clip's weights, in float32."""
        steps = self.pending.clips[clip].step_indices
        specs = zip(self.decoder_of(clip).weight_specs(), steps, strict=True)
        symbols = self.pending.symbols[clip]
        return {
            spec.name: symbols[spec.name].unpack(step_size(index), device)
            for spec, index in specs
            if spec.name in names
        }

    def _find_windows(self) -> dict[int, Crop]:
        """Dependent clips first, as what they depart from must cover what they need."""
        whole = _crop_of(self.pending.header, None)
        if self.crop == whole:
            return dict.fromkeys(self._depths, whole)
        needs = dict.fromkeys((clip for clip, _ in self.outputs), self.crop)
        windows = {}
        for clip in sorted(self._depths, key=self._depths.__getitem__, reverse=True):
            decoder = self.decoder_of(clip)
            if not isinstance(decoder, Tubelet):
                windows[clip] = whole
                continue
            moving = self.weights_of(clip, ["motion", "sway"], torch.device("cpu"))
            windows[clip] = window_of(decoder, moving, needs[clip])
            near = self.near(clip)
            if near is not None:
                need = reference_window_of(decoder, moving, needs[clip])
                needs[near[0]] = needs.get(near[0], need).united(need)
        return windows

    def _enter(self, clip: int) -> int:
        """Depth of a clip, after those of what it departs from."""
        if clip not in self._depths:
            near = self.near(clip)
            if near is not None:
                self.references.add(near)
            self._depths[clip] = 0 if near is None else self._enter(near[0]) + 1
        return self._depths[clip]


class Job:
    """Frames of one clip, as much of them as is needed."""

    def __init__(self, scene: Scene, clip: int, times: tuple[int, ...]) -> None:
        self.scene, self.clip, self.times = scene, clip, times
        self.near = scene.near(clip)
        self.window = scene.windows[clip]
        self.decoder = scene.decoder_of(clip)
        if self._is_cut:
            shape = replace(self.decoder.clip, height=self.window.height, width=self.window.width)
            self.decoder = cast("Tubelet", self.decoder).resized(shape)
        self.pixels = self.window.height * self.window.width
        self.kind = (id(scene.decoders), self.decoder.clip, self.near is None, len(times))

    def weights(self, device: torch.device) -> dict[str, Tensor]:
        """What the decoder renders, on the device."""
        specs = self.scene.decoder_of(self.clip).weight_specs()
        return self._some_weights([spec.name for spec in specs], device)

    def native(self) -> NativeClip:
        """The clip as C kernels render it, of a tubelet on a CPU."""
        weights = self._some_weights(["motion", "sway", "gate"], torch.device("cpu"))
        step = step_size(self.scene.pending.clips[self.clip].step_indices[-1])
        symbols = self.scene.pending.symbols[self.clip]["grid"]
        corner = self.window.top // GRID_CELL, self.window.left // GRID_CELL
        grid = SparseGrid.of(symbols, step, corner)
        return cast("Tubelet", self.decoder).native(grid, weights, self.times)

    def _some_weights(self, names: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        scene = self.scene
        weights = scene.weights_of(self.clip, names, device)
        if self._is_cut:
            weights = cut_out(weights, self.window)
        if self.near is not None:
            around = scene.windows[self.near[0]]
            weights["reference"] = self.window.within(around).of(scene.nearest[self.near])
        return weights

    @property
    def _is_cut(self) -> bool:
        shape = self.scene.decoder_of(self.clip).clip
        return (self.window.height, self.window.width) != (shape.height, shape.width)


def _crop_of(header: StreamHeader, crop: Crop | None) -> Crop:
    whole = Crop(top=0, left=0, height=header.height, width=header.width)
    if crop is None:
        return whole
    if min(crop.top, crop.left, crop.height - 1, crop.width - 1) < 0 or (
        whole.united(crop) != whole
    ):
        raise ValueError(f"{crop} does not lie in a frame of {header.width}x{header.height}")
    return crop
