"""Pictures of frames: from the object store if they were made before, else from a renderer."""

from __future__ import annotations

import hashlib
import io
import logging

from encoder_service.decode_files import fetch
from encoder_service.errors import FrameFailed, ObjectMissing, StorageError
from encoder_service.frames.pool import RendererPool, StoredStream
from encoder_service.frames.request import PictureRequest
from encoder_service.storage.base import ObjectStore, picture_key
from encoder_service.telemetry import fields

DECODE_FILE_MISSING = "decode_file.missing"  # the code of `hypernet.errors.MissingDecodeFile`

log = logging.getLogger(__name__)


class Pictures:
    """Frames of the streams in one object store.

    Args:
        store: of streams and of pictures.
        renderers: make those that are not there yet.
    """

    def __init__(self, store: ObjectStore, renderers: RendererPool) -> None:
        self._store = store
        self._renderers = renderers

    def get(self, stream_key: str, decode_file: str | None, wanted: PictureRequest) -> bytes:
        """One picture; see `RendererPool.render` for what can go wrong.

        Args:
            stream_key: of the stream.
            decode_file: what the stream needs besides itself, by its SHA-256.
            wanted: the picture.
        """
        key = _key(stream_key, wanted)
        try:
            return self._store.read(key)
        except ObjectMissing:
            pass
        stream = StoredStream(
            size=self._store.stat(stream_key).size,
            read=lambda offset, length: self._store.read(stream_key, offset=offset, length=length),
        )
        try:
            picture = self._renderers.render(stream, wanted)
        except FrameFailed as error:
            if error.reason != DECODE_FILE_MISSING or decode_file is None:
                raise
            fetch(self._store, decode_file, self._renderers.models())
            picture = self._renderers.render(stream, wanted)
        try:
            self._store.put(key, io.BytesIO(picture))
        except StorageError as error:  # it is only made again next time
            log.warning("picture not kept", extra=fields(key=key, reason=str(error)))
        return picture


def etag_of(stream_key: str, wanted: PictureRequest) -> str:
    """A name for the content of a picture: the same request of the same stream has the same."""
    return f'"{hashlib.sha256(_key(stream_key, wanted).encode()).hexdigest()[:32]}"'


def _key(stream_key: str, wanted: PictureRequest) -> str:
    width = "full" if wanted.width is None else str(wanted.width)
    return picture_key(stream_key, f"{wanted.frame:08d}-{width}.{wanted.picture_format}")
