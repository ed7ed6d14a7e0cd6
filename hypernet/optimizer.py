"""The optimiser of fits: Muon for matrices and kernels, Adam for the rest.

Orthogonalised updates (Muon, Jordan et al. 2024) move all directions of a kernel at once; in fits
of a few hundred steps that is worth several dB over Adam alone (DECISIONS.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hypernet.weights import WeightSpec

ADAM_LEARNING_RATE = 0.01
STEP_LEARNING_RATE = 0.08  # of log2 step sizes
MUON_RMS = 0.2  # size of an update of learning rate 1 under "match_rms_adamw"


class FitOptimizer:
    """The trainable form of a decoder's weights: matrices with axis 0 as rows, and log2 steps.

    Args:
        specs: the decoder's weight specs.
        initial: start values by name.
        log2_steps: start values of the step sizes, one per spec.
        learning_rate: size of a kernel's update relative to its initial standard deviation.
    """

    def __init__(
        self,
        specs: Sequence[WeightSpec],
        initial: Mapping[str, Tensor],
        log2_steps: Tensor,
        learning_rate: float,
    ) -> None:
        self.specs = specs
        self.values = {s.name: _trainable(s, initial[s.name]) for s in specs}
        self.log2_steps = log2_steps.clone().requires_grad_()
        matrices = [s for s in specs if _is_matrix(s)]
        vectors = [self.values[s.name] for s in specs if not _is_matrix(s)]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                [
                    {"params": [self.values[s.name]], "lr": learning_rate * s.init_std / MUON_RMS}
                    for s in matrices
                ],
                weight_decay=0.0,
                momentum=0.9,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.Adam(
                [
                    {"params": vectors, "lr": ADAM_LEARNING_RATE},
                    {"params": [self.log2_steps], "lr": STEP_LEARNING_RATE},
                ],
                betas=(0.9, 0.98),
            ),
        ]
        self._peak_rates = [[group["lr"] for group in o.param_groups] for o in self._optimizers]

    def weights(self) -> dict[str, Tensor]:
        """The current values in their own shapes; gradients flow through."""
        return {s.name: self.values[s.name].view(s.shape) for s in self.specs}

    def step(self, loss: Tensor, scale: float) -> None:
        """One update; ``scale`` multiplies every learning rate."""
        for optimizer, rates in zip(self._optimizers, self._peak_rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * scale
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self._optimizers:
            optimizer.step()


def _is_matrix(spec: WeightSpec) -> bool:
    return len(spec.shape) > 1 and spec.init_std > 0


def _trainable(spec: WeightSpec, value: Tensor) -> Tensor:
    value = value.detach().clone().float()
    return (value.reshape(spec.rows, -1) if _is_matrix(spec) else value).requires_grad_()
