"""The fixed grid of quantisation steps: index 0 .. 255 to a float, equal on every platform."""

from __future__ import annotations

import math

NUM_STEPS = 256
STEPS_PER_OCTAVE = 8
_MIN_EXPONENT = -22

# 2^(k/8) rounded to float32, so that every step is exact in float32 as well as in float64.
_MANTISSAS = tuple(
    float.fromhex(literal)
    for literal in (
        "0x1.000000p+0",
        "0x1.172b84p+0",
        "0x1.306fe0p+0",
        "0x1.4bfdaep+0",
        "0x1.6a09e6p+0",
        "0x1.8ace54p+0",
        "0x1.ae89fap+0",
        "0x1.d5818ep+0",
    )
)


def step_size(index: int) -> float:
    """Quantisation step of an index: about ``2^(index / 8 - 22)``, from 2^-22 to 2^9.9.

    Raises:
        ValueError: ``index`` is not in 0 .. 255.
    """
    if not 0 <= index < NUM_STEPS:
        raise ValueError(f"step index {index} is not in 0..{NUM_STEPS - 1}")
    octave, eighth = divmod(index, STEPS_PER_OCTAVE)
    return math.ldexp(_MANTISSAS[eighth], octave + _MIN_EXPONENT)


def nearest_step_index(step: float) -> int:
    """Index of the grid step nearest to ``step`` in ratio; clipped to the ends of the grid.

    Raises:
        ValueError: ``step`` is not a positive finite number.
    """
    if not (step > 0 and math.isfinite(step)):
        raise ValueError(f"quantisation step {step} is not a positive number")
    index = round(STEPS_PER_OCTAVE * (math.log2(step) - _MIN_EXPONENT))
    return min(max(index, 0), NUM_STEPS - 1)
