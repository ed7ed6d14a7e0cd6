"""What differs between the models that can be trained; the loop is the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hypernet.decoders.decode_file import pack_decode_file
from hypernet.decoders.hyponet_layers import TileRenderer
from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.decoders.tubelet_layers import render_clips
from hypernet.predictor.factor_predictor import FactorModelConfig, FactorPredictor
from hypernet.predictor.initial_transformer import start_from_transform
from hypernet.predictor.predictor import pack_predictor
from hypernet.predictor.tile_predictor import pack_tile_predictor
from hypernet.predictor.weight_predictor import ModelConfig, WeightPredictor, channels_last
from hypernet.training.config import TrainingConfig
from hypernet.training.dataset import Batch, PairSampler, Sampling
from hypernet.training.factor_losses import FactorLosses, factor_losses
from hypernet.training.losses import Losses, clip_losses, sent_weights
from hypernet.training.step_sizes import middle_steps

STEP_BATCHES = 4
"""Training batches that fix the quantisation steps of a model."""


class StepLosses(Protocol):
    """A dataclass of scalars; these two are in it."""

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        ...

    @property
    def mse(self) -> Tensor:
        """Squared error of RGB in [0, 1]."""
        ...


class Method(Protocol):
    """How one kind of model is trained and written."""

    @property
    def losses_type(self) -> type[Any]:
        """A dataclass, see ``StepLosses``; its fields are columns of the log."""
        ...

    def build(self) -> nn.Module:
        """A model to start from."""
        ...

    def sampling(self) -> Sampling:
        """What a sample shows."""
        ...

    def losses(
        self, model: nn.Module, batch: Batch, step: int, noise: torch.Generator
    ) -> StepLosses:
        """Losses of a batch at a step, on the device of ``noise``."""
        ...

    def reconstruct(self, model: nn.Module, frames_BTCHW: Tensor) -> Tensor:
        """Frames of clips as they would be decoded alone."""
        ...

    def decode_data(self, model: nn.Module) -> bytes:
        """The bytes of the decode file."""
        ...

    def predictor_data(self, model: nn.Module, decode_sha256: str, sampler: PairSampler) -> bytes:
        """The bytes of the predictor file; the sampler shows what the model was trained on."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeletMethod:
    """The product's own model: rate and distortion of a key clip and one coded against it."""

    config: TrainingConfig
    model: ModelConfig
    losses_type: type[Any] = Losses

    def build(self) -> nn.Module:
        """See ``Method``."""
        return channels_last(WeightPredictor(self.model))

    def sampling(self) -> Sampling:
        """See ``Method``."""
        return Sampling(height=self.config.data.crop, width=self.config.data.crop)

    def losses(
        self,
        model: nn.Module,
        batch: Batch,
        step: int,  # noqa: ARG002 - the same all the way
        noise: torch.Generator,
    ) -> Losses:
        """See ``Method``."""
        device = noise.device
        frames = batch.frames.to(device).float() / 255
        prior = self.model.prior
        steps = torch.randint(
            prior.finest_step,
            prior.coarsest_step + 1,
            (len(frames),),
            generator=noise,
            device=device,
        )
        return clip_losses(_tubelet(model), frames, batch.offset.to(device), steps)

    def reconstruct(self, model: nn.Module, frames_BTCHW: Tensor) -> Tensor:
        """See ``Method``."""
        predictor = _tubelet(model)
        device = frames_BTCHW.device
        step_index = torch.full((len(frames_BTCHW),), self.model.quality_step(50), device=device)
        predicted = predictor(frames_BTCHW, step_index)
        sent = sent_weights(predictor.prior, predicted, step_index, None)
        weights = sent.dequantized(step_index, None)
        return render_clips(predictor.base(), weights, _all_times(device))

    def decode_data(self, model: nn.Module) -> bytes:
        """See ``Method``."""
        predictor = _tubelet(model)
        return pack_decode_file(self.model.decoder, predictor.base(), predictor.prior)

    def predictor_data(
        self,
        model: nn.Module,
        decode_sha256: str,
        sampler: PairSampler,  # noqa: ARG002 - its steps are fixed
    ) -> bytes:
        """See ``Method``."""
        return pack_predictor(_tubelet(model), decode_sha256)


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorMethod:
    """NeRV-Enc and TeCoNeRV as published; the tiling is the decoder's."""

    config: TrainingConfig
    model: FactorModelConfig
    losses_type: type[Any] = FactorLosses

    def build(self) -> nn.Module:
        """See ``Method``."""
        model = FactorPredictor(self.model, self.config.seed)
        start_from_transform(model)
        return model

    def sampling(self) -> Sampling:
        """See ``Method``."""
        height, width = self.model.decoder.tile
        whole = bool(self.model.decoder.whole_frame)
        return Sampling(height=height, width=width, whole_frame=whole, distances=(1,))

    def losses(
        self, model: nn.Module, batch: Batch, step: int, noise: torch.Generator
    ) -> FactorLosses:
        """See ``Method``."""
        coherent = step >= self.model.coherence_from * self.config.schedule.steps
        return factor_losses(
            _factor(model),
            batch.frames.to(noise.device).float() / 255,
            noise,
            coherence_weight=self.model.coherence_weight if coherent else 0.0,
        )

    def reconstruct(self, model: nn.Module, frames_BTCHW: Tensor) -> Tensor:
        """See ``Method``."""
        predictor = _factor(model)
        layers = self.model.decoder.layers()
        renderer = TileRenderer(layers, predictor.base(), predictor(frames_BTCHW))
        return renderer.frames(_all_times(frames_BTCHW.device))

    def decode_data(self, model: nn.Module) -> bytes:
        """See ``Method``."""
        return pack_decode_file(self.model.decoder, _factor(model).base(), None)

    def predictor_data(self, model: nn.Module, decode_sha256: str, sampler: PairSampler) -> bytes:
        """See ``Method``."""
        predictor = _factor(model)
        batches = [sampler.batch(step).frames[:, 0] for step in range(STEP_BATCHES)]
        steps = middle_steps(predictor, torch.cat(batches).float() / 255)
        return pack_tile_predictor(predictor, decode_sha256, steps)


def method_of(config: TrainingConfig) -> TubeletMethod | FactorMethod:
    """The method that a configuration names."""
    if isinstance(config.model, FactorModelConfig):
        return FactorMethod(config=config, model=config.model)
    return TubeletMethod(config=config, model=config.model)


def _all_times(device: torch.device) -> Tensor:
    return torch.arange(CLIP_FRAMES, dtype=torch.float32, device=device)


def _tubelet(model: nn.Module) -> WeightPredictor:
    if not isinstance(model, WeightPredictor):
        raise TypeError(f"a tubelet predictor is needed, not {type(model).__name__}")
    return model


def _factor(model: nn.Module) -> FactorPredictor:
    if not isinstance(model, FactorPredictor):
        raise TypeError(f"a factor predictor is needed, not {type(model).__name__}")
    return model
