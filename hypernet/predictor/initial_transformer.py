"""Where training of a hypernetwork starts: it computes the transform that its hyponet inverts.

Every patch token holds its block cosines. In the first block each weight token of the second layer
looks at the frames of its place where its cosine of the time is positive, in the second at the
others, which are subtracted; its head only puts the result in order. Tokens with nothing to look at
look at sinks: weight tokens without a place. All other branches start with nothing to add.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypernet.decoders.spectrum import CLIP_FRAMES
from hypernet.predictor.factor_predictor import FactorModelConfig, FactorPredictor
from hypernet.predictor.initial_hyponet import (
    Transform,
    coloured,
    time_waves,
    transform_of,
)

CERTAINTY = 10.0
"""Attention logit of one thing that a token wishes for, of three: row, column, and time."""
SINK_WISH = 4.0
"""Outweighs a place."""
TOKEN_SQUARE = 256.0
"""Squared norm of what tells tokens apart; the content is small beside it, so that normalisation
scales all tokens alike."""
CONTENT = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Channels:
    """What each channel of a token means: who it is, whom it wishes to look at, and content."""

    rows: slice
    columns: slice
    times: slice
    sink: slice
    wished_times: tuple[slice, slice]
    wished_sinks: tuple[slice, slice]
    balance: slice
    content: slice

    @property
    def identity(self) -> int:
        """Channels that keys are compared by."""
        return int(self.sink.stop)


def start_from_transform(model: FactorPredictor) -> None:
    """Set the weights of a new model; one whose sizes do not allow it is left at random."""
    transform = transform_of(model.config.decoder)
    if transform is None:
        return
    channels = _channels(model.config, transform)
    if _fits(model.config, transform, channels):
        _Start(model, transform, channels).set()


def _channels(config: FactorModelConfig, transform: Transform) -> _Channels:
    sizes = (transform.rows, transform.columns, CLIP_FRAMES, 1, CLIP_FRAMES, CLIP_FRAMES, 1, 1, 2)
    ends = torch.tensor(sizes).cumsum(0).tolist()
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    content = len(transform.patterns) * transform.inside**2
    width = config.transformer.width
    return _Channels(
        rows=parts[0],
        columns=parts[1],
        times=parts[2],
        sink=parts[3],
        wished_times=(parts[4], parts[5]),
        wished_sinks=(parts[6], parts[7]),
        balance=parts[8],
        content=slice(width - content, width),
    )


def _fits(config: FactorModelConfig, transform: Transform, channels: _Channels) -> bool:
    width, heads = config.transformer.width, config.transformer.heads
    return (
        config.patch == transform.inside * transform.side
        and config.tokens[1] == config.decoder.layers()[1].inputs
        and config.transformer.depth >= 2
        and width // heads >= channels.identity
        and channels.content.start >= channels.balance.stop
    )


class _Start:
    def __init__(self, model: FactorPredictor, transform: Transform, channels: _Channels) -> None:
        self._model, self._transform, self._channels = model, transform, channels
        self._width = model.config.transformer.width
        self._scale = math.sqrt(self._width / TOKEN_SQUARE)  # of normalisation

    @torch.no_grad()
    def set(self) -> None:
        """All of the model but its kernels."""
        self._embed()
        self._model.weight_tokens.copy_(self._weight_tokens())
        for number, block in enumerate(self._model.blocks):
            for branch in ("attn.proj", "mlp.fc2"):
                _silence(block.get_submodule(branch))
            self._mind_content(block)
            if number < 2:
                self._look(block, number)
        for layer, head in self._model.heads.items():
            _silence(head.get_submodule("1"))
            if layer == "1":
                self._put_in_order(head.get_submodule("1").get_parameter("weight"))

    def _gains(self) -> Tensor:
        """Content relative to the coefficient, ``(patterns, inside, inside)``.

        Blocks that are next to each other differ in sign, so that normalisation, which takes the
        mean of all channels away, has little to take from a bright patch.
        """
        gains = torch.tensor([CONTENT * pattern.gain for pattern in self._transform.patterns])
        signs = 1.0 - 2.0 * (torch.arange(self._transform.inside) % 2)
        return gains[:, None, None] * signs[:, None] * signs

    def _embed(self) -> None:
        """Patches: block cosines as content, and who they are."""
        transform, channels, model = self._transform, self._channels, self._model
        inside, side = transform.inside, transform.side
        patterns, gains = coloured(transform.patterns, side), self._gains() * inside
        weight = torch.zeros(len(patterns), inside, inside, 3, inside, side, inside, side)
        for down in range(inside):
            for right in range(inside):
                gain = gains[:, down, right, None, None, None]
                weight[:, down, right, :, down, :, right] = patterns * gain
        model.embedding.weight.zero_()
        model.embedding.weight[channels.content] = weight.flatten(3).flatten(0, 2)
        token = torch.zeros(self._width)
        for wished in channels.wished_sinks:
            token[wished] = SINK_WISH
        model.places.copy_(self._at_places())
        model.moments.zero_()
        model.moments[:, channels.times] = torch.eye(CLIP_FRAMES)
        balanced = self._balanced(token + model.places[:1] + model.moments[:1])[0]
        token[channels.balance] = balanced[channels.balance]
        model.embedding.bias.copy_(token)

    def _at_places(self) -> Tensor:
        """Who is at each place, ``(places, width)``."""
        transform, channels = self._transform, self._channels
        tokens = torch.zeros(transform.rows, transform.columns, self._width)
        tokens[:, :, channels.rows] = torch.eye(transform.rows)[:, None]
        tokens[:, :, channels.columns] = torch.eye(transform.columns)
        return tokens.flatten(0, 1)

    def _weight_tokens(self) -> Tensor:
        """A token for each place and mode in the second layer; all others are sinks."""
        config, transform, channels = self._model.config, self._transform, self._channels
        before = config.tokens[0]
        speaking = slice(before, before + transform.speaking)
        sinks = sum(config.tokens) - transform.speaking
        tokens = torch.zeros(sum(config.tokens), self._width)
        tokens[:, channels.sink] = 1.0
        for wished in channels.wished_sinks:
            tokens[:, wished] = SINK_WISH
        modes = torch.stack([self._mode(mode, sinks) for mode in range(transform.modes)])
        tokens[speaking] = (self._at_places()[:, None] + modes).flatten(0, 1)
        return self._balanced(tokens)

    def _mode(self, mode: int, sinks: int) -> Tensor:
        """Whom a token of this mode wishes to look at: logits of shares of its attention."""
        channels, token = self._channels, torch.zeros(self._width)
        wave = time_waves(mode + 1)[mode]
        parts = wave.clamp(min=0), (-wave).clamp(min=0)
        for part, times, sink in zip(
            parts, channels.wished_times, channels.wished_sinks, strict=True
        ):
            if not part.any():
                token[sink] = SINK_WISH
                continue
            shares = part / part.sum()
            token[times] = torch.where(part > 0, 1 + shares.log() / CERTAINTY, 0.0)
            if mode:
                # What is kept makes a factor worth as much as one of the constant mode.
                kept = float(part.sum()) * math.sqrt(2) / CLIP_FRAMES
                token[sink] = 3 + math.log((1 - kept) / kept / sinks) / CERTAINTY
        return token

    def _balanced(self, tokens: Tensor) -> Tensor:
        """Two channels make the sum of each token zero and its norm that of all."""
        half = tokens.sum(1) / 2
        rest = (TOKEN_SQUARE - tokens.square().sum(1)) / 2 - half.square()
        tokens[:, self._channels.balance] = torch.stack(
            (rest.sqrt() - half, -rest.sqrt() - half), 1
        )
        return tokens

    def _look(self, block: nn.Module, number: int) -> None:
        """The first block adds the content of what is looked at, the second subtracts it."""
        channels, width = self._channels, self._width
        heads = self._model.config.transformer.heads
        weight = block.get_submodule("attn.qkv").get_parameter("weight")
        query, key, value = weight.view(3, width, width)
        gain = math.sqrt(CERTAINTY * math.sqrt(width / heads)) / self._scale
        query.zero_()
        by_head = query.view(heads, -1, width), key.view(heads, -1, width)
        by_head[1][:, : channels.identity] = 0
        identity = torch.eye(width)
        asked = (channels.rows, channels.columns, channels.wished_times[number])
        for own, wished in zip(
            (channels.rows, channels.columns, channels.times, channels.sink),
            (*asked, channels.wished_sinks[number]),
            strict=True,
        ):
            by_head[0][:, own] = gain * identity[wished]
            by_head[1][:, own] = gain * identity[own]
        content = identity[channels.content]
        value.zero_()
        value[: len(content)] = content
        shown = block.get_submodule("attn.proj").get_parameter("weight")
        shown[:, : len(content)] = (-1) ** number / self._scale * content.T

    def _mind_content(self, block: nn.Module) -> None:
        """No branch sees who tokens are, which is large: steps would act on all tokens alike."""
        before = self._channels.content.start
        value = slice(2 * self._width, 3 * self._width)
        block.get_submodule("attn.qkv").get_parameter("weight")[value, :before] = 0
        block.get_submodule("attn.qkv").get_parameter("bias").zero_()
        block.get_submodule("mlp.fc1").get_parameter("weight")[:, :before] = 0
        block.get_submodule("mlp.fc1").get_parameter("bias").zero_()

    def _put_in_order(self, weight: Tensor) -> None:
        """The head of the second layer: content is its factors; rows may share filters."""
        factors = torch.diag(1 / (self._scale * self._gains().flatten()))
        rows = torch.unflatten(factors, 0, (len(weight), -1)).mean(1)
        weight[:, self._channels.content] = rows


def _silence(linear: nn.Module) -> None:
    for parameter in linear.parameters():
        parameter.zero_()
