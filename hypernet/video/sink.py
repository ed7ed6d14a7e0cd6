"""Where muxers write: a file whose errors wait until they can be handled, and nowhere at all."""

from __future__ import annotations

from typing import BinaryIO


class Nowhere:
    """A seekable file that keeps nothing, to learn whether something could be written."""

    def __init__(self) -> None:
        self._position = 0
        self._size = 0

    def write(self, data: bytes) -> int:
        """Take note of the length."""
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as a file does."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position


class Sink:
    """A seekable file whose errors wait until :meth:`check`.

    A muxer calls back from the middle of its own work, several times before it looks at the result;
    an exception from there would be printed and lost.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of it, or remember why not and take no more."""
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as a file does."""
        if self._error is None:
            try:
                return self._file.seek(offset, whence)
            except OSError as error:
                self._error = error
        return 0

    def tell(self) -> int:
        """The position; zero after an error."""
        return self._file.tell() if self._error is None else 0

    def seekable(self) -> bool:
        """Whether the file is; a pipe is not."""
        return self._file.seekable()

    def check(self) -> None:
        """Raise the first error, if there was one.

        Raises:
            OSError: writing failed.
        """
        if self._error is not None:
            raise self._error
