"""In which order the clips of a segment are coded, and which clip each departs from.

The key clip is in the middle; on each side its neighbour is coded against it and, in a long
segment, a clip farther out. All others are coded against the nearest of these. So no clip needs
more than two others, and references are near.
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
    for side, count in ((-1, key), (1, num_clips - 1 - key)):
        anchors = _anchors(count)
        steps += [Step(clip=key + side * near, reference=key, depth=1) for near in anchors]
        for far in (far for far in range(1, count + 1) if far not in anchors):
            _, nearest = min((abs(anchor - far), anchor) for anchor in anchors)
            reference = key + side * nearest
            steps.append(Step(clip=key + side * far, reference=reference, depth=2))
    return tuple(steps)


def _anchors(count: int) -> list[int]:
    """Which of the clips on one side of the key, counted from it, are coded against it."""
    # With fewer than four a second one is as far from the key as it is nearer to the others.
    return [1, (count + 2) // 2] if count >= 4 else [1][:count]


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
