"""Errors of the codec: one tree, each class with a stable code.

HypernetError
|-- InvalidSettings        settings.invalid
|-- UnreadableInput
|   |-- UnreadableVideo    video.unreadable
|   |-- UnsupportedVideo   video.unsupported
|   |-- InvalidStream      stream.invalid
|   `-- MissingDecodeFile  decode_file.missing
|-- OutputNotWritable      output.not_writable
|-- EncodeFailed           encode.failed
|-- OutOfDeviceMemory      device.out_of_memory
`-- Cancelled              cancelled

The code is part of the interface (CLI exit status, HTTP problem documents); the message says what
is wrong and what to do about it.
"""

from __future__ import annotations


class HypernetError(Exception):
    """Something the codec refuses or cannot do."""

    code = "error"


class InvalidSettings(HypernetError):
    """A preset, quality, target or budget that does not exist or is out of range."""

    code = "settings.invalid"


class UnreadableInput(HypernetError):
    """An input that cannot be used, whatever the settings."""

    code = "input.unreadable"


class UnreadableVideo(UnreadableInput):
    """The input is missing, empty, damaged, or holds no video."""

    code = "video.unreadable"


class UnsupportedVideo(UnreadableInput):
    """The input is a video of a kind that is refused on purpose (HDR, interlaced, playlists)."""

    code = "video.unsupported"


class InvalidStream(UnreadableInput):
    """The bytes are not a valid ``.nrv`` stream, or exceed the stated limits."""

    code = "stream.invalid"


class MissingDecodeFile(UnreadableInput):
    """The stream needs a decode file that is not installed here."""

    code = "decode_file.missing"


class OutputNotWritable(HypernetError):
    """The output cannot be written: permission, missing folder, or no space left."""

    code = "output.not_writable"


class EncodeFailed(HypernetError):
    """Encoding went wrong for a reason that is ours (diverged fit, failed verification)."""

    code = "encode.failed"


class OutOfDeviceMemory(HypernetError):
    """A GPU cannot hold the smallest piece of the work."""

    code = "device.out_of_memory"


class Cancelled(HypernetError):
    """The caller asked to stop; nothing was written."""

    code = "cancelled"
