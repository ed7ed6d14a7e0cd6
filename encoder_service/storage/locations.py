"""From the names that settings and users give to stores and keys."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from encoder_service.errors import AccessDenied, InvalidConfiguration, InvalidRequest
from encoder_service.settings import StorageSettings
from encoder_service.storage.base import ObjectStore, upload_key
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore


class Locations:
    """Our own store, and the buckets that sources may name.

    Args:
        settings: where our store is and which buckets are allowed.
        base_url: where our API is reachable, for links to objects in a folder.
    """

    def __init__(self, settings: StorageSettings, *, base_url: str) -> None:
        self._settings = settings
        self.own = _open(settings, base_url)
        self._buckets: dict[str, ObjectStore] = {}  # a client takes longer to make than to use

    def source(self, source: str) -> tuple[ObjectStore, str]:
        """The store and the key that ``upload:ID`` or ``s3://bucket/key`` means.

        Raises:
            InvalidRequest: it is neither.
            AccessDenied: the bucket is not one of NRV_STORAGE_SOURCE_BUCKETS.
        """
        check_source(source, self._settings)
        if source.startswith("upload:"):
            return self.own, upload_key(source.removeprefix("upload:"))
        bucket, _, key = source.removeprefix("s3://").partition("/")
        return self.bucket(bucket), key

    def prefix(self, source: str) -> tuple[ObjectStore, str]:
        """The store and the beginning of keys that ``s3://bucket/prefix`` means.

        Raises:
            InvalidRequest: it is not of that form.
            AccessDenied: the bucket is not one of NRV_STORAGE_SOURCE_BUCKETS.
        """
        check_prefix(source, self._settings)
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        return self.bucket(bucket), prefix

    def bucket(self, name: str) -> ObjectStore:
        """A bucket by its name; whether it may be used is asked before."""
        if name not in self._buckets:
            self._buckets[name] = _bucket(self._settings, name)
        return self._buckets[name]


def check_source(source: str, settings: StorageSettings) -> None:
    """Refuse a source that may not be used, without looking at it.

    Raises:
        InvalidRequest: it is neither ``upload:ID`` nor ``s3://bucket/key``.
        AccessDenied: it is a path or a URL, or its bucket is not allowed.
    """
    kind, _, rest = source.partition(":")
    if kind == "upload" and rest.replace("_", "").isalnum():
        return
    bucket, _, key = rest.removeprefix("//").partition("/")
    if kind == "s3" and rest.startswith("//") and bucket and key:
        if bucket not in settings.source_buckets:
            raise AccessDenied(f"bucket {bucket!r} is not one of NRV_STORAGE_SOURCE_BUCKETS")
        return
    if "/" in source or "\\" in source:
        raise AccessDenied("a source is upload:ID or s3://bucket/key; paths and URLs are refused")
    raise InvalidRequest("a source is upload:ID or s3://bucket/key")


def check_prefix(source: str, settings: StorageSettings) -> None:
    """Like `check_source` for ``s3://bucket/prefix``, whose prefix may be empty."""
    if not source.startswith("s3://"):
        raise InvalidRequest("a prefix is s3://bucket/prefix")
    separator = "" if "/" in source.removeprefix("s3://") else "/"
    check_source(f"{source}{separator}any", settings)


def _open(settings: StorageSettings, base_url: str) -> ObjectStore:
    if settings.url.startswith("folder:"):
        root = Path(settings.url.removeprefix("folder:"))
        return LocalObjectStore(root, LinkSigner(settings.link_secret, base_url))
    parts = urlsplit(settings.url)
    if parts.scheme == "s3" and parts.netloc:
        return _bucket(settings, parts.netloc, parts.path)
    raise InvalidConfiguration("NRV_STORAGE_URL is folder:PATH or s3://bucket/prefix")


def _bucket(settings: StorageSettings, bucket: str, prefix: str = "") -> ObjectStore:
    # Imported here because a service that keeps its objects in a folder never needs boto3.
    from encoder_service.storage.s3 import S3ObjectStore  # noqa: PLC0415

    return S3ObjectStore(settings, bucket, prefix)
