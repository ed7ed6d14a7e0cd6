"""Picture requests answered inside a child process: the only module here that leads to torch.

    python -m encoder_service.frames.rendering MEMORY_BYTES

Requests come on standard input and pictures go to standard output. The process has no credentials
and opens no connection: it asks for the ranges of the stream that it needs. It ends with its input,
so it does not outlive the process that started it.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any, BinaryIO

import torch

from encoder_service.frames.display import displayed_size, jpeg_of, upright
from encoder_service.frames.protocol import (
    BYTES,
    PICTURE,
    READ,
    REFUSED,
    RENDER,
    receive,
    send,
)
from encoder_service.frames.request import PictureFormat, PictureRequest
from hypernet.decoding import NrvStream
from hypernet.errors import HypernetError, InvalidStream
from hypernet.video.pictures import png_of


class PipeSource:
    """The stream as the other side of the pipe reads it; implements `ByteSource`.

    For one thread at a time, which is all that rendering a single frame takes.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, size: int) -> None:
        self._requests, self._answers, self._size = requests, answers, size

    def size(self) -> int:
        """See `ByteSource.size`."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteSource.read`."""
        if not 0 <= offset <= offset + length <= self._size:
            raise InvalidStream(f"truncated stream: {self._size} bytes, more are asked for")
        send(self._answers, {"kind": READ, "offset": offset, "length": length})
        header, data = receive(self._requests)
        if header["kind"] != BYTES or len(data) != length:
            raise EOFError
        return data


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while True:
        try:
            header, _ = receive(requests)
            _answer(header, requests, answers)
        except (EOFError, BrokenPipeError):
            return


def _answer(header: dict[str, Any], requests: BinaryIO, answers: BinaryIO) -> None:
    if header["kind"] != RENDER:
        raise EOFError
    wanted = PictureRequest(
        frame=header["frame"],
        picture_format=PictureFormat(header["picture_format"]),
        width=header["width"],
    )
    source = PipeSource(requests, answers, header["stream_bytes"])
    try:
        picture = render(NrvStream(source), wanted)
    except HypernetError as error:
        send(answers, {"kind": REFUSED, "code": error.code, "message": str(error)})
    except (MemoryError, RuntimeError) as error:  # the latter is how torch says the same
        message = f"the frame needs more memory than a renderer may have: {error}"
        send(answers, {"kind": REFUSED, "code": "memory", "message": message[:500]})
    else:
        send(answers, {"kind": PICTURE}, picture)


def render(stream: NrvStream, wanted: PictureRequest) -> bytes:
    """One frame as a picture file.

    Raises:
        InvalidStream: there is no such frame, or its segment is damaged.
    """
    if not 0 <= wanted.frame < stream.header.num_frames:
        raise InvalidStream(f"the stream has {stream.header.num_frames} frames")
    rgb_HWC = upright(stream.frame(wanted.frame).rgb_HWC, stream.info.rotation)
    size = displayed_size(stream.info, wanted.width)
    if wanted.picture_format is PictureFormat.PNG:
        return png_of(rgb_HWC, size)
    return jpeg_of(rgb_HWC, size)


def main(memory_bytes: int) -> None:
    """Serve what comes on standard input."""
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main(int(sys.argv[1]))
