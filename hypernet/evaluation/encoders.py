"""Writing RGB frames with an FFmpeg encoder, through PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hypernet.errors import EncodeFailed, OutputNotWritable
from hypernet.evaluation.metrics import Frame


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSettings:
    """An FFmpeg encoder by its FFmpeg names; ``threads`` slices per frame where it has them."""

    encoder: str
    pixel_format: str
    container: str
    threads: int
    options: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


LOSSLESS_RGB = EncoderSettings(
    encoder="ffv1",
    pixel_format="bgr0",
    container="matroska",
    threads=2,
    options={"level": "3", "slices": "4"},
)


def write_video(
    frames: Iterable[Frame], output: Path, rate: Fraction, settings: EncoderSettings
) -> int:
    """Encode 8-bit RGB frames (HWC) of one size at a constant frame rate; returns their number.

    Raises:
        OutputNotWritable: missing folder, no permission or no space.
        EncodeFailed: the encoder refused the frames, or there were none.
    """
    try:
        with av.open(str(output), "w", format=settings.container) as container:
            container.metadata.update(settings.metadata)
            stream: VideoStream | None = None
            number = -1
            for number, frame_HWC in enumerate(frames):
                stream = stream or _add_stream(container, frame_HWC, rate, settings)
                frame = VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
                frame.pts, frame.time_base = number, 1 / rate
                container.mux(stream.encode(frame))
            if stream is None:
                raise EncodeFailed(f"there are no frames to write to {output}")
            container.mux(stream.encode(None))
    except OSError as error:
        raise OutputNotWritable(f"cannot write {output}: {error.strerror}") from error
    except av.error.FFmpegError as error:
        raise EncodeFailed(f"{settings.encoder} cannot encode these frames: {error}") from error
    return number + 1


def _add_stream(
    container: av.container.OutputContainer,
    frame_HWC: Frame,
    rate: Fraction,
    settings: EncoderSettings,
) -> VideoStream:
    added = container.add_stream(settings.encoder, rate=rate, options=dict(settings.options))
    stream = cast("VideoStream", added)
    stream.height, stream.width = frame_HWC.shape[:2]
    stream.pix_fmt = settings.pixel_format
    stream.codec_context.thread_count = settings.threads
    stream.codec_context.thread_type = "SLICE"
    return stream
