"""A small configuration of every decoder architecture, and weights to render with."""

from __future__ import annotations

import torch

from hypernet.decoders import Decoder, Weights, build_decoder, config_to_fields
from hypernet.decoders.config import DecoderConfig
from hypernet.decoders.hyponet import Hyponet, HyponetConfig
from hypernet.decoders.nerv import NervConfig, NervDecoder
from hypernet.decoders.nerv_plus import NervPlusConfig, NervPlusDecoder
from hypernet.decoders.nirvana import NirvanaConfig, NirvanaDecoder
from hypernet.decoders.srnerv import SrNervConfig, SrNervDecoder
from hypernet.decoders.tubelet import Tubelet, TubeletConfig
from hypernet.predictor.cosine_kernels import cosine_kernels
from hypernet.predictor.initial_hyponet import initial_hyponet
from hypernet.weights import ClipShape

_TUBELET = TubeletConfig(grid_channels=70)
HYPONET = HyponetConfig(
    whole_frame=0,
    frequencies=4,
    widths=(9, 4, 24, 3),
    strides_down=(2, 2, 4, 2),
    strides_right=(2, 2, 4, 2),
    kernels=(1, 1, 3, 3),
    factor_rows=(9, 16, 4, 0),
)

CONFIGS: dict[int, DecoderConfig] = {
    NervDecoder.wire_id: NervConfig(
        frequencies=4, hidden=6, widths=(7, 5, 3), strides=(2, 3), head_kernel=3, head_stride=2
    ),
    Tubelet.wire_id: _TUBELET,
    Hyponet.wire_id: HYPONET,
    NervPlusDecoder.wire_id: NervPlusConfig(
        frequencies=4,
        hidden=6,
        widths=(7, 5, 3),
        strides=(2, 3),
        kernel=5,
        head_kernel=3,
        head_stride=2,
    ),
    NirvanaDecoder.wire_id: NirvanaConfig(
        group_frames=5, patch=3, stride=2, hidden=10, layers=2, channels=3, width=4
    ),
    SrNervDecoder.wire_id: SrNervConfig(
        frequencies=4, hidden=6, width=5, mixer_width=9, kernel=3, scales=2, head_stride=3
    ),
}


BASES = {
    Tubelet.wire_id: cosine_kernels(_TUBELET),
    Hyponet.wire_id: initial_hyponet(HYPONET, torch.Generator().manual_seed(1)),
}


def sample_decoder(wire_id: int, clip: ClipShape) -> Decoder:
    return build_decoder(wire_id, config_to_fields(CONFIGS[wire_id]), clip, base=BASES.get(wire_id))


def random_weights(decoder: Decoder, seed: int = 0) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    return {
        spec.name: torch.randn(spec.shape, generator=generator) * (spec.init_std or 0.1)
        for spec in decoder.weight_specs()
    }
