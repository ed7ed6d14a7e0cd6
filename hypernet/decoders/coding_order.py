"""In which order the clips of a segment are coded, and which clip each departs from.

The key clip is in the middle; both its neighbours are coded against it, all other clips against
the neighbour on their side. So no clip needs more than two others, and references are near.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypernet.decoders.spectrum import CLIP_FRAMES


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One clip to code.

    Attributes:
        clip: its number in the segment.
        reference: that of its reference, None for the key.
        depth: how many other clips it needs.
    """

    clip: int
    reference: int | None = None
    depth: int = 0


def coding_order(num_clips: int) -> tuple[Step, ...]:
    """The clips of a segment in coding order; references come first."""
    key = (num_clips - 1) // 2
    steps = [Step(clip=key)]
    for side in (-1, 1):
        neighbour = key + side
        clip, reference, depth = neighbour, key, 1
        while 0 <= clip < num_clips:
            steps.append(Step(clip=clip, reference=reference, depth=depth))
            clip, reference, depth = clip + side, neighbour, 2
    return tuple(steps)


def all_keys(num_clips: int) -> tuple[Step, ...]:
    """Every clip on its own, to measure what references save."""
    return tuple(Step(clip=clip) for clip in range(num_clips))


def each_after_another(num_clips: int) -> tuple[Step, ...]:
    """The first clip on its own, every other against the one before it (TeCoNeRV)."""
    return tuple(Step(clip=n, reference=n - 1 if n else None, depth=n) for n in range(num_clips))


def chain(num_clips: int) -> tuple[Step, ...]:
    """Every clip against its neighbour, to measure what the limit of two costs."""
    key = (num_clips - 1) // 2
    before = [Step(clip=n, reference=n + 1, depth=key - n) for n in reversed(range(key))]
    after = [Step(clip=n, reference=n - 1, depth=n - key) for n in range(key + 1, num_clips)]
    return (Step(clip=key), *before, *after)


def nearest_frame(step: Step, reference_frames: int) -> tuple[int, float]:
    """Frame of the reference clip that is nearest, and how far it is from the clip's middle.

    Args:
        step: a clip with a reference.
        reference_frames: frames of the reference clip; all but the last clip have 8.

    Returns:
        Number of the frame in its clip; distance in frames, negative if it is earlier.

    Raises:
        ValueError: the step has no reference.
    """
    if step.reference is None:
        raise ValueError(f"clip {step.clip} has no reference")
    frame = reference_frames - 1 if step.reference < step.clip else 0
    apart = (step.reference - step.clip) * CLIP_FRAMES + frame
    return frame, apart - (CLIP_FRAMES - 1) / 2
