"""Range coding of yes/no symbols, each with one of 64 fixed probabilities."""

from __future__ import annotations

import functools
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

NUM_LEVELS = 64
PRECISION_SHIFT = 8

# Chance of a one in units of 2^-16, about 1 / (1 + exp((32 - level) / 6)).
_CHANCES = (
    315,
    372,
    439,
    518,
    611,
    720,
    849,
    1001,
    1179,
    1388,
    1633,
    1921,
    2257,
    2650,
    3108,
    3640,
    4258,
    4971,
    5793,
    6736,
    7812,
    9034,
    10412,
    11955,
    13671,
    15562,
    17625,
    19854,
    22233,
    24743,
    27357,
    30044,
    32768,
    35492,
    38179,
    40793,
    43303,
    45682,
    47911,
    49974,
    51865,
    53581,
    55124,
    56502,
    57724,
    58800,
    59743,
    60565,
    61278,
    61896,
    62428,
    62886,
    63279,
    63615,
    63903,
    64148,
    64357,
    64535,
    64687,
    64816,
    64925,
    65018,
    65097,
    65164,
)


@functools.cache
def flag_model(level: int) -> Any:
    """Model of one flag: frequencies of 0 and 1 that sum to 2^24, see ``entropy``."""
    one = int(one_frequencies()[level])
    weights = np.array([(1 << 24) - one, one], dtype=np.float32) - 1
    return constriction.stream.model.Categorical(weights, perfect=False)


@functools.cache
def one_frequencies() -> NDArray[np.uint32]:
    """Frequency of a one at each level, out of 2^24, shape [NUM_LEVELS]."""
    return np.array(_CHANCES, np.uint32) << np.uint32(PRECISION_SHIFT)


def flag_bits() -> Any:
    """Bits of a zero and of a one at each level, ``(NUM_LEVELS, 2)`` float64."""
    one = np.array(_CHANCES) / (1 << 16)
    return -np.log2(np.stack((1 - one, one), axis=1))
