"""A frozen prior as the C kernels take it: integers in the order in which they are read.

The layouts are those of ``hypernet/native/prior.h``.
"""

from __future__ import annotations

import ctypes
import itertools
import weakref
from collections.abc import Sequence
from ctypes import POINTER, c_int, c_int32, c_uint16
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypernet.decoders.integer_layers import ACTIVATION_LIMIT, EXACT_LIMIT, IntegerConvolution
from hypernet.decoders.integer_prior import IntegerPrior, PriorConfig, Stage
from hypernet.decoders.spectrum import spectrum

LANES = 16
WEIGHT_BIAS = 128
MAX_WIDTH = 1 << 12


class Layer(ctypes.Structure):
    """``nrv_layer``."""

    _fields_ = (("weights", POINTER(c_uint16)), ("bias", POINTER(c_int32)), ("shift", c_int))


class StageLayers(ctypes.Structure):
    """``nrv_stage``."""

    _fields_ = (
        ("known", Layer),
        ("inside", Layer),
        ("context", Layer),
        ("hidden", Layer),
        ("output", Layer),
        ("inputs", c_int),
    )


class PriorLayers(ctypes.Structure):
    """``nrv_prior``."""

    _fields_ = (
        ("first", c_int),
        ("middle_groups", c_int),
        ("last_groups", c_int),
        ("sizes", POINTER(c_int32)),
        ("context_width", c_int),
        ("hidden_width", c_int),
        ("means", c_int32 * 3),
        ("reference", Layer),
        ("first_even", StageLayers),
        ("first_odd", StageLayers),
        ("flags_even", StageLayers),
        ("flags_odd", StageLayers),
        ("middle", StageLayers),
        ("last", StageLayers),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PackedPrior:
    """What the kernels are given.

    Attributes:
        layers: the structure.
        arrays: what it points into.
        frozen: the tensors it was made of.
    """

    layers: PriorLayers
    arrays: tuple[NDArray[Any], ...]
    frozen: tuple[Any, ...]


_packed: weakref.WeakKeyDictionary[IntegerPrior, PackedPrior] = weakref.WeakKeyDictionary()


def packed_prior(prior: IntegerPrior) -> PackedPrior | None:
    """The prior for the kernels, made once; None if it is not frozen on the CPU or too wide."""
    frozen = prior.frozen()
    if frozen is None or frozen[0].device.type != "cpu":
        return None
    known = _packed.get(prior)
    if known is None or any(a is not b for a, b in zip(known.frozen, frozen, strict=True)):
        known = _Packing(prior).packed(frozen)
        if known is not None:
            _packed[prior] = known
    return known


class _Packing:
    """Collects the arrays that the structures point into."""

    def __init__(self, prior: IntegerPrior) -> None:
        self._prior = prior
        self._arrays: list[NDArray[Any]] = []
        self._is_exact = True

    def packed(self, frozen: tuple[Any, ...]) -> PackedPrior | None:
        """All of it, None if the kernels could not compute with it exactly."""
        prior, config = self._prior, self._prior.config
        means = spectrum(config.grid_channels).means
        if max(means) >= config.first or max(*_widths(config)) > MAX_WIDTH:
            return None
        flags = (len(config.groups),)
        layers = PriorLayers(
            first=config.first,
            middle_groups=len(config.middle),
            last_groups=len(config.last),
            sizes=self._kept(np.array(config.groups, np.int32), c_int32),
            context_width=padded(config.context_width),
            hidden_width=padded(config.hidden_width),
            means=(c_int32 * 3)(*means),
            reference=self._layer(prior.reference),
            first_even=self._stage(prior.first_even, (config.first,)),
            first_odd=self._stage(prior.first_odd, (config.first,)),
            flags_even=self._stage(prior.flags_even, flags),
            flags_odd=self._stage(prior.flags_odd, flags),
            middle=self._stage(prior.middle, config.middle),
            last=self._stage(prior.last, config.last),
        )
        if not self._is_exact:
            return None
        return PackedPrior(layers, tuple(self._arrays), frozen)

    def _stage(self, stage: Stage, groups: Sequence[int]) -> StageLayers:
        known, inside = stage.known, stage.inside
        return StageLayers(
            known=Layer() if known is None else self._layer(known),
            inside=Layer() if inside is None else self._layer(inside),
            context=self._layer(stage.context, pad_inputs=True),
            hidden=self._layer(stage.hidden, pad_inputs=True),
            output=self._output(stage.output, groups),
            inputs=0 if known is None else known.weight.shape[1],
        )

    def _layer(self, layer: IntegerConvolution, *, pad_inputs: bool = False) -> Layer:
        weight_OIK, bias_O = self._integers(layer, layer.shift)
        outputs, inputs, taps = weight_OIK.shape
        rows = padded(inputs) if pad_inputs else inputs
        weights = np.zeros((taps, rows, padded(outputs)), np.int16)
        weights[:, :inputs, :outputs] = weight_OIK.transpose(2, 1, 0)
        return self._of(weights, _padded_bias(bias_O), layer.shift)

    def _output(self, layer: IntegerConvolution, groups: Sequence[int]) -> Layer:
        weight_OIK, bias_O = self._integers(layer, layer.shift + 1)
        rows = padded(weight_OIK.shape[1])
        weights, biases = [], []
        for start, size in zip(itertools.accumulate(groups, initial=0), groups, strict=False):
            weight = np.zeros((rows, padded(size)), np.int16)
            weight[: weight_OIK.shape[1], :size] = weight_OIK[start : start + size, :, 0].T
            weights.append(weight.ravel())
            biases.append(_padded_bias(bias_O[start : start + size]))
        return self._of(np.concatenate(weights), np.concatenate(biases), layer.shift)

    def _integers(
        self, layer: IntegerConvolution, divided: int
    ) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Weights ``(outputs, inputs, taps)`` and biases; float32 must round its sums exactly."""
        weight, bias = (part.flatten(2) if part.dim() > 1 else part for part in layer.rounded())
        reach = weight.abs().sum((1, 2)) * ACTIVATION_LIMIT + bias.abs()
        if float(reach.max()) + 2.0 ** (divided - 1) >= EXACT_LIMIT:
            self._is_exact = False
        return weight.numpy().astype(np.int16), bias.numpy().astype(np.int32)

    def _of(self, weights: NDArray[np.int16], bias: NDArray[np.int32], shift: int) -> Layer:
        biased = (weights + WEIGHT_BIAS).astype(np.uint16)
        return Layer(self._kept(biased, c_uint16), self._kept(bias, c_int32), shift)

    def _kept(self, array: NDArray[Any], kind: type[Any]) -> Any:
        self._arrays.append(array)
        return array.ctypes.data_as(POINTER(kind))


def _widths(config: PriorConfig) -> tuple[int, ...]:
    return config.grid_channels, config.context_width, config.hidden_width


def _padded_bias(bias_O: NDArray[np.int32]) -> NDArray[np.int32]:
    """The even outputs, then the odd ones."""
    bias = np.zeros(padded(len(bias_O)), np.int32)
    bias[: len(bias_O)] = bias_O
    return bias.reshape(-1, 2).T.ravel()


def padded(width: int) -> int:
    """To whole vectors."""
    return -(-width // LANES) * LANES
