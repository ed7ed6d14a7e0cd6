"""The plan of an encoding: what the source is, how it is cut, which decoder every segment uses.

A plan is made once, is plain JSON, and lets any number of workers encode segments of one stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import torch

from hypernet.bitstream.header import NO_DECODE_FILE, StreamHeader
from hypernet.decoders import Decoder, build_decoder, config_to_fields
from hypernet.errors import InvalidSettings
from hypernet.predictor.files import find_predictor
from hypernet.preset_names import DEFAULT_PRESET
from hypernet.presets import MIDDLE_QUALITY, find_preset, rate_factor
from hypernet.video.colour import Colour
from hypernet.video.probe import VideoInfo, probe
from hypernet.video.reader import ReadReport
from hypernet.video.segments import SegmentRange, plan_segments
from hypernet.weights import ClipShape


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeSettings:
    """What a user may choose.

    Attributes:
        preset: name of an operating point.
        quality: 1 to 100; rate and quality rise together, 50 is the preset's own point. None leaves
            it to the preset.
        target_psnr_db: what a segment should decode at (RGB). Predicted weights are sent at the
            quality that just reaches it, a fit stops there.
        steps: of a fit or a refinement, per segment, at most; reproducible.
        budget_seconds: wall seconds for the whole file, at most; not reproducible.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of everything random.

    Raises:
        InvalidSettings: a value out of its range; the message names the option.
    """

    preset: str = DEFAULT_PRESET
    quality: int | None = None
    target_psnr_db: float | None = None
    steps: int | None = None
    budget_seconds: float | None = None
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        find_preset(self.preset)
        _require(
            self.quality is None or 1 <= self.quality <= 100,
            "quality must lie in 1..100",
            self.quality,
        )
        _require(
            self.target_psnr_db is None or 0 < self.target_psnr_db < float("inf"),
            "target PSNR must be a positive number of decibels",
            self.target_psnr_db,
        )
        _require(self.steps is None or self.steps >= 1, "steps must be at least 1", self.steps)
        _require(
            self.budget_seconds is None or self.budget_seconds > 0,
            "budget must be more than 0 seconds",
            self.budget_seconds,
        )
        _require(0 <= self.seed < 1 << 63, "seed must lie in 0..2^63 - 1", self.seed)
        _require(self.device in {"auto", "cpu", "cuda"}, "device: auto, cpu or cuda", self.device)

    @property
    def chosen_quality(self) -> int:
        """The quality, or the preset's own."""
        return MIDDLE_QUALITY if self.quality is None else self.quality

    @property
    def goal_psnr_db(self) -> float | None:
        """The target, or that of the preset where neither target nor quality was named."""
        if self.target_psnr_db is None and self.quality is None:
            return find_preset(self.preset).target_psnr_db
        return self.target_psnr_db

    def torch_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            InvalidSettings: CUDA was asked for and there is none.
        """
        available = torch.cuda.is_available()
        _require(
            self.device != "cuda" or available, "no CUDA device here; use --device cpu", "cuda"
        )
        return torch.device("cuda" if available and self.device != "cpu" else "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """See the module.

    Attributes:
        info: the source.
        segments: in frame order.
        decoder: wire id.
        decoder_config: the decoder's configuration as wire fields.
        decode_file: SHA-256 of the decode file that the stream will name, hexadecimal.
        predictor: SHA-256 of the predictor file.
        warnings: what of the source could not be read.
    """

    info: VideoInfo
    segments: tuple[SegmentRange, ...]
    decoder: int
    decoder_config: tuple[int, ...]
    decode_file: str | None = None
    predictor: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Frames of the whole video."""
        return sum(segment.num_frames for segment in self.segments)

    def longest_decoder(self, clip_frames: int | None = None) -> Decoder:
        """The decoder of the longest clip, by which the network was sized.

        Args:
            clip_frames: of the preset.
        """
        clip = _longest_clip(self.info, self.segments, clip_frames)
        return build_decoder(self.decoder, self.decoder_config, clip)

    def header(self) -> StreamHeader:
        """The header of the stream that this plan leads to."""
        info = self.info
        return StreamHeader(
            width=info.width,
            height=info.height,
            num_frames=self.num_frames,
            time_base_num=info.time_base.numerator,
            time_base_den=info.time_base.denominator,
            rotation=info.rotation,
            pixel_aspect_num=info.pixel_aspect.numerator,
            pixel_aspect_den=info.pixel_aspect.denominator,
            colour_primaries=info.colour.primaries,
            colour_transfer=info.colour.transfer,
            colour_matrix=info.colour.matrix,
            full_range=info.colour.full_range,
            bit_depth=info.bit_depth,
            decoder=self.decoder,
            decoder_config=self.decoder_config,
            decode_file=bytes.fromhex(self.decode_file) if self.decode_file else NO_DECODE_FILE,
        )

    def to_json(self) -> str:
        """The plan as JSON; fractions are strings."""
        return json.dumps(asdict(self), default=str, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What ``to_json`` wrote."""
        fields = json.loads(text)
        survey = Survey.from_fields(fields)
        return cls(
            info=survey.info,
            segments=survey.segments,
            decoder=fields["decoder"],
            decoder_config=tuple(fields["decoder_config"]),
            decode_file=fields.get("decode_file"),
            predictor=fields.get("predictor"),
            warnings=survey.warnings,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What one pass over a source found: what it is, where it is cut, what could not be read."""

    info: VideoInfo
    segments: tuple[SegmentRange, ...]
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """A survey whose parts went through JSON."""
        return cls(
            info=_info_from(fields["info"]),
            segments=tuple(SegmentRange(**segment) for segment in fields["segments"]),
            warnings=tuple(fields.get("warnings", ())),
        )


def make_plan(source: Path, settings: EncodeSettings) -> Plan:
    """Probe a video and cut it into segments; one pass over its frames.

    Raises:
        UnreadableVideo, UnsupportedVideo: as ``probe``.
    """
    report = ReadReport()
    info = probe(source)
    segments = plan_segments(source, find_preset(settings.preset).segment_frames, report=report)
    return plan_of(Survey(info=info, segments=segments, warnings=report.warnings()), settings)


def plan_of(survey: Survey, settings: EncodeSettings) -> Plan:
    """The plan for a source that somebody has read."""
    preset = find_preset(settings.preset)
    predictor = find_predictor(preset.predictor) if preset.predictor else None
    longest = _longest_clip(survey.info, survey.segments, preset.clip_frames)
    config = preset.configure(longest, rate_factor(settings.chosen_quality))
    return Plan(
        info=survey.info,
        segments=survey.segments,
        decoder=preset.decoder,
        decoder_config=config_to_fields(config),
        decode_file=predictor.decode_sha256 if predictor else None,
        predictor=predictor.sha256 if predictor else None,
        warnings=survey.warnings,
    )


def _longest_clip(
    info: VideoInfo, segments: Sequence[SegmentRange], clip_frames: int | None
) -> ClipShape:
    """Of one clip for each segment, or of clips that have at most so many frames."""
    frames = max(segment.num_frames for segment in segments)
    frames = min(frames, clip_frames or frames)
    return ClipShape(frames=frames, height=info.height, width=info.width)


def _info_from(fields: Mapping[str, Any]) -> VideoInfo:
    fractions = ("time_base", "frame_rate", "pixel_aspect", "duration_seconds")
    parsed = {name: Fraction(fields[name]) for name in fractions if fields[name] is not None}
    return VideoInfo(**{**fields, **parsed, "colour": Colour(**fields["colour"])})


def _require(holds: bool, message: str, value: object) -> None:
    if not holds:
        raise InvalidSettings(f"{message} (got {value})")
