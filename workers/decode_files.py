"""Decode files here and in the object store: whoever gets a stream can get what it needs."""

from __future__ import annotations

from pathlib import Path

from encoder_service.decode_files import fetch, publish
from encoder_service.errors import ObjectMissing
from encoder_service.storage.base import ObjectStore
from hypernet.decoders.decode_file import find_decode_file
from hypernet.errors import MissingDecodeFile


class DecodeFiles:
    """The decode files of the streams that this process works on.

    Args:
        store: where they are published.
        folder: where fetched ones are kept; the codec must look there, see ``$NRV_MODELS``.
    """

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._shared: set[str] = set()

    def share(self, digest: str | None) -> None:
        """Have a decode file on both sides: fetched if it is not here, published if only here is.

        Args:
            digest: its SHA-256 in hexadecimal; None, and nothing is done, when none is needed.

        Raises:
            MissingDecodeFile: it is neither here nor there.
            DamagedDecodeFile: the store holds something else.
        """
        if digest is None or digest in self._shared:
            return
        try:
            found = find_decode_file(digest)
        except MissingDecodeFile as missing:
            try:
                fetch(self._store, digest, self._folder)
            except ObjectMissing:
                raise missing from None
            found = find_decode_file(digest)
        else:
            publish(self._store, iter([found.path]))
        self._shared.add(found.sha256)
