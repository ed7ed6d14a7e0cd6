"""Which streams there are: a folder, a list, or a prefix of a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hypernet.errors import InvalidSettings, UnreadableInput

SUFFIX = ".nrv"
S3_SCHEME = "s3://"

StreamsFrom = str | Path | Iterable[str | Path]
"""A folder, a stream, an ``s3://bucket/prefix``, or several paths and ``s3://bucket/key``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamPlace:
    """Where one stream lies.

    Attributes:
        name: a path, or ``s3://bucket/key``.
        num_bytes: its size, if that is known without asking.
        version: of the object (its entity tag), if that is known.
    """

    name: str
    num_bytes: int | None = None
    version: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it is read over the network."""
        return self.name.startswith(S3_SCHEME)


def find_streams(source: StreamsFrom) -> list[StreamPlace]:
    """Every stream of a source: a list in its own order, all else sorted by name.

    Folders are searched at any depth for ``*.nrv``. Nothing is opened.

    Raises:
        UnreadableInput: the folder is missing, or the bucket cannot be listed.
        InvalidSettings: there are no streams.
    """
    if isinstance(source, str) and source.startswith(S3_SCHEME):
        places = _below_prefix(source)
    elif isinstance(source, str | Path):
        places = _below_folder(Path(source))
    else:
        places = [StreamPlace(name=os.fspath(each)) for each in source]
    if not places:
        where = source if isinstance(source, str | Path) else "the list"
        raise InvalidSettings(f"{where} holds no stream (*{SUFFIX}); encode some, or correct it")
    return places


def split_address(address: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of ``s3://bucket/key``.

    Raises:
        InvalidSettings: there is no bucket.
    """
    bucket, _, key = address.removeprefix(S3_SCHEME).partition("/")
    if not bucket:
        raise InvalidSettings(f"{address!r} names no bucket; write s3://bucket/prefix")
    return bucket, key


def _below_folder(path: Path) -> list[StreamPlace]:
    if path.is_file():
        return [StreamPlace(name=str(path))]
    if not path.is_dir():
        raise UnreadableInput(f"there is no folder {path}")
    return [StreamPlace(name=str(each)) for each in sorted(path.rglob(f"*{SUFFIX}"))]


def _below_prefix(address: str) -> list[StreamPlace]:
    from hypernet.loading.s3 import client  # noqa: PLC0415 -- an optional extra

    bucket, prefix = split_address(address)
    return [
        StreamPlace(
            name=f"{S3_SCHEME}{bucket}/{each.key}", num_bytes=each.num_bytes, version=each.version
        )
        for each in client().objects(bucket, prefix)
        if each.key.endswith(SUFFIX)
    ]
