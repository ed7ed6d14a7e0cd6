"""Checkpoints of a training run: one safetensors file, written whole or not at all.

Tensors are the model, its average and the optimiser's state; everything else is JSON in the header.
Batches and noise are functions of the step, so no random state needs to be kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hypernet.errors import InvalidSettings, OutputNotWritable


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        seconds: wall time spent so far, over all continuations.
        fingerprint: of the configuration that the run was started with.
    """

    step: int
    seconds: float
    fingerprint: str


def save_checkpoint(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    """Write a checkpoint under a temporary name and rename it.

    Raises:
        OutputNotWritable: the folder cannot be written or the disk is full.
    """
    state = optimizer.state_dict()
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    header = {
        "step": progress.step,
        "seconds": progress.seconds,
        "fingerprint": progress.fingerprint,
        "groups": state["param_groups"],
        "scalars": scalars,
    }
    contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
    temporary = path.with_suffix(".partial")
    try:
        save_file(contiguous, temporary, metadata={"training": json.dumps(header)})
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OutputNotWritable(f"cannot write checkpoint {path}: {error}") from error


def load_checkpoint(
    path: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    fingerprint: str,
) -> Progress:
    """Restore everything that ``save_checkpoint`` wrote.

    Raises:
        InvalidSettings: no such checkpoint, damaged, or of another configuration.
    """
    header, tensors = _read(path, fingerprint)
    _load(model, tensors, "model.")
    _load(average, tensors, "average.")
    state: dict[int, dict[str, Any]] = {}
    for name, value in _below(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    for name, scalar in header["scalars"].items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = scalar
    optimizer.load_state_dict({"state": state, "param_groups": header["groups"]})
    return Progress(
        step=header["step"], seconds=header["seconds"], fingerprint=header["fingerprint"]
    )


def load_average(path: Path, model: nn.Module, fingerprint: str | None) -> Progress:
    """Load the averaged weights alone; without a fingerprint, those of any run that fit.

    Raises:
        InvalidSettings: as for ``load_checkpoint``.
    """
    header, tensors = _read(path, fingerprint)
    _load(model, tensors, "average.")
    return Progress(
        step=header["step"], seconds=header["seconds"], fingerprint=header["fingerprint"]
    )


def _read(path: Path, fingerprint: str | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InvalidSettings(f"cannot read checkpoint {path}: {error}") from error
    if fingerprint is not None and header["fingerprint"] != fingerprint:
        raise InvalidSettings(
            f"{path} belongs to another configuration ({header['fingerprint']}, not "
            f"{fingerprint}): continue with the one it was started with, or choose an empty folder"
        )
    return header, tensors


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _load(module: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    try:
        module.load_state_dict(_below(tensors, prefix), strict=True)
    except RuntimeError as error:
        raise InvalidSettings(f"the checkpoint holds a model of other sizes: {error}") from error
