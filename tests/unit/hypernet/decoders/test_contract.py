"""What every decoder architecture must keep, whatever it is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from hypernet.decoders import ARCHITECTURES, build_decoder, config_to_fields
from hypernet.weights import ClipShape
from tests.unit.hypernet.decoders.samples import BASES, CONFIGS, random_weights, sample_decoder

ALL = sorted(ARCHITECTURES)
CLIP = ClipShape(frames=5, height=37, width=50)


def test_every_architecture_is_tested() -> None:
    assert sorted(CONFIGS) == ALL


def test_wire_ids_are_those_of_the_classes() -> None:
    assert {number: kind.wire_id for number, (kind, _) in ARCHITECTURES.items()} == {
        number: number for number in ALL
    }


@pytest.mark.parametrize("wire_id", ALL)
@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 97), width=st.integers(1, 97), frames=st.integers(1, 4))
def test_frames_have_the_true_size(wire_id: int, height: int, width: int, frames: int) -> None:
    decoder = sample_decoder(wire_id, ClipShape(frames=frames, height=height, width=width))
    rendered = decoder.render(random_weights(decoder), torch.arange(frames).float())
    assert rendered.shape == (frames, 3, height, width)
    assert rendered.dtype == torch.float32
    assert rendered.isfinite().all()


@pytest.mark.parametrize("wire_id", ALL)
def test_weight_specs_never_change(wire_id: int) -> None:
    decoder, other = sample_decoder(wire_id, CLIP), sample_decoder(wire_id, CLIP)
    specs = decoder.weight_specs()
    decoder.render(random_weights(decoder), torch.zeros(1))
    assert decoder.weight_specs() == specs == other.weight_specs()
    assert len({spec.name for spec in specs}) == len(specs)
    assert all(spec.size >= 1 and spec.init_std >= 0 for spec in specs)


@pytest.mark.parametrize("wire_id", ALL)
def test_the_stream_header_rebuilds_the_decoder(wire_id: int) -> None:
    decoder = build_decoder(
        wire_id, config_to_fields(CONFIGS[wire_id]), CLIP, base=BASES.get(wire_id)
    )
    assert decoder.clip == CLIP
    assert decoder.weight_specs() == sample_decoder(wire_id, CLIP).weight_specs()


@pytest.mark.parametrize("wire_id", ALL)
def test_rendering_leaves_the_weights_alone(wire_id: int) -> None:
    decoder = sample_decoder(wire_id, CLIP)
    weights = random_weights(decoder)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    first = decoder.render(weights, torch.tensor([1.0, 3.0]))
    assert all(torch.equal(weights[name], before[name]) for name in before)
    assert torch.equal(decoder.render(weights, torch.tensor([1.0, 3.0])), first)


@pytest.mark.parametrize("wire_id", ALL)
def test_a_frame_is_the_same_alone_and_in_a_batch(wire_id: int) -> None:
    decoder = sample_decoder(wire_id, CLIP)
    weights = random_weights(decoder)
    together = decoder.render(weights, torch.tensor([4.0, 0.0, 2.5, 1.0, 3.0]))
    assert (together.std(dim=0) > 0).any()
    for number, time in enumerate([4.0, 0.0, 2.5, 1.0, 3.0]):
        alone = decoder.render(weights, torch.tensor([time]))
        torch.testing.assert_close(alone[0], together[number], rtol=0, atol=1e-5)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("wire_id", ALL)
@pytest.mark.parametrize("size", [(37, 50), (24, 24), (5, 90)])
def test_multiply_adds_are_counted_right(wire_id: int, size: tuple[int, int]) -> None:
    height, width = size
    decoder = sample_decoder(wire_id, ClipShape(frames=5, height=height, width=width))
    decoder.render(random_weights(decoder), torch.arange(5.0))  # what is kept is made now
    with FlopCounterMode(display=False) as counter:
        decoder.render(random_weights(decoder), torch.arange(5.0))
    counted = counter.get_total_flops() / 2 / (5 * height * width)
    assert decoder.multiply_adds_per_pixel() == pytest.approx(counted)


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("wire_id", ALL)
@pytest.mark.parametrize("size", [(37, 50), (1, 1), (96, 8)])
def test_activation_bytes_bound_every_operation(wire_id: int, size: tuple[int, int]) -> None:
    decoder = sample_decoder(wire_id, ClipShape(frames=5, height=size[0], width=size[1]))
    weights = random_weights(decoder)
    with _LargestOperation(list(weights.values())) as largest:
        decoder.render(weights, torch.zeros(1))
    assert 0 < largest.bytes <= decoder.activation_bytes()


class _LargestOperation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the most bytes, weights left out, that any one operation read and wrote."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in weights}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        storages = {
            leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes()
            for leaf in tree_leaves((args, result))
            if isinstance(leaf, Tensor)
        }
        used = sum(size for place, size in storages.items() if place not in self._weights)
        self.bytes = max(self.bytes, used)
        return result
