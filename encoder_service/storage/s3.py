"""S3 and whatever speaks like it. The only module that knows boto3."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from urllib3.exceptions import HTTPError

from encoder_service.errors import (
    InvalidKey,
    ObjectExists,
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from encoder_service.settings import StorageSettings
from encoder_service.storage.base import CHUNK_BYTES, ObjectInfo, Part, Unfinished, check_key

# By error code first, then by HTTP status: servers agree on the second more than on the first.
ERRORS: dict[str | int, type[StorageError]] = {
    "QuotaExceeded": StorageFull,
    "InvalidAccessKeyId": StorageDenied,
    "InvalidArgument": InvalidKey,
    "KeyTooLongError": InvalidKey,
    401: StorageDenied,
    403: StorageDenied,
    404: ObjectMissing,
    409: ObjectExists,
    412: ObjectExists,
    413: StorageFull,
    507: StorageFull,
}
# Parts this large let an object of 150 GiB pass within the 10,000 parts that S3 allows.
TRANSFER = TransferConfig(multipart_chunksize=16 * 2**20, max_concurrency=4)


class S3ObjectStore:
    """Objects in one bucket below a prefix."""

    def __init__(self, settings: StorageSettings, bucket: str, prefix: str = "") -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._settings = settings
        self._client = _connect(settings, settings.endpoint)

    def prepare(self) -> None:
        """See `ObjectStore.prepare`."""
        region = self._settings.region
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            with _translated(self.bucket):
                self._client.head_bucket(Bucket=self.bucket)
        except ObjectMissing:
            with suppress(ObjectExists), _translated(self.bucket):
                self._client.create_bucket(
                    Bucket=self.bucket, **({} if region == "us-east-1" else elsewhere)
                )

    def put(self, key: str, body: IO[bytes], *, if_absent: bool = False) -> None:
        """See `ObjectStore.put`."""
        place = self._place(key)
        with _translated(key):
            if if_absent:
                self._put_if_absent(place, body)
            else:
                self._client.upload_fileobj(body, place["Bucket"], place["Key"], Config=TRANSFER)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        return b"".join(self.stream(key, offset=offset, length=length))

    def stream(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ObjectStore.stream`."""
        if length == 0:
            return iter(())
        last = "" if length is None else str(offset + length - 1)
        whole = offset == 0 and length is None
        byte_range = {} if whole else {"Range": f"bytes={offset}-{last}"}
        place = self._place(key)
        try:
            with _translated(key):
                body = self._client.get_object(**place, **byte_range)["Body"]
        except _PastTheEnd:
            return iter(())
        return _chunks(body, key)

    def stat(self, key: str) -> ObjectInfo:
        """See `ObjectStore.stat`."""
        place = self._place(key)
        with _translated(key):
            head = self._client.head_object(**place)
        return ObjectInfo(
            key=key,
            size=head["ContentLength"],
            etag=head["ETag"],
            modified_at=head["LastModified"],
        )

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket,
            Prefix=self.prefix + prefix,
            StartAfter=self.prefix + after if after else "",
        )
        with _translated(prefix):
            for page in pages:
                for each in page.get("Contents", ()):
                    yield ObjectInfo(
                        key=each["Key"][len(self.prefix) :],
                        size=each["Size"],
                        etag=each["ETag"],
                        modified_at=each["LastModified"],
                    )

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        place = self._place(key)
        with _translated(key):
            self._client.delete_object(**place)

    def link_to_get(self, key: str, *, seconds: int, filename: str | None = None) -> str:
        """See `ObjectStore.link_to_get`."""
        parameters = self._place(key)
        if filename is not None:
            quoted = filename.replace("\\", "_").replace('"', "_")
            parameters["ResponseContentDisposition"] = f'attachment; filename="{quoted}"'
        return self._link("get_object", parameters, seconds)

    def link_to_put(self, key: str, *, seconds: int) -> str:
        """See `ObjectStore.link_to_put`."""
        return self._link("put_object", self._place(key), seconds)

    def start_multipart(self, key: str) -> str:
        """See `ObjectStore.start_multipart`."""
        place = self._place(key)
        with _translated(key):
            return str(self._client.create_multipart_upload(**place)["UploadId"])

    def link_to_put_part(self, key: str, upload_id: str, number: int, *, seconds: int) -> str:
        """See `ObjectStore.link_to_put_part`."""
        parameters = {**self._place(key), "UploadId": upload_id, "PartNumber": number}
        return self._link("upload_part", parameters, seconds)

    def put_part(self, key: str, upload_id: str, number: int, body: IO[bytes]) -> Part:
        """See `ObjectStore.put_part`."""
        data = body.read()
        place = self._place(key)
        with _translated(key):
            stored = self._client.upload_part(
                **place, UploadId=upload_id, PartNumber=number, Body=data
            )
        return Part(number=number, etag=stored["ETag"], size=len(data))

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore.list_parts`."""
        place = self._place(key)
        with _translated(key):
            pages = self._client.get_paginator("list_parts").paginate(**place, UploadId=upload_id)
            return [
                Part(number=each["PartNumber"], etag=each["ETag"], size=each["Size"])
                for page in pages
                for each in page.get("Parts", ())
            ]

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """See `ObjectStore.complete_multipart`."""
        place = self._place(key)
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with _translated(key):
            self._client.complete_multipart_upload(
                **place, UploadId=upload_id, MultipartUpload={"Parts": listed}
            )

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """See `ObjectStore.abort_multipart`."""
        place = self._place(key)
        try:
            with _translated(key):
                self._client.abort_multipart_upload(**place, UploadId=upload_id)
        except ObjectMissing:
            return

    def unfinished(self) -> Iterator[Unfinished]:
        """See `ObjectStore.unfinished`; a server does not tell how large they are."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self.prefix
        )
        with _translated("uploads in parts"):
            for page in pages:
                for each in page.get("Uploads", ()):
                    yield Unfinished(
                        name=each["Key"][len(self.prefix) :],
                        upload_id=each["UploadId"],
                        size=0,
                        begun_at=each["Initiated"],
                    )

    def discard(self, unfinished: Unfinished) -> None:
        """See `ObjectStore.discard`."""
        self.abort_multipart(unfinished.name, str(unfinished.upload_id))

    def _place(self, key: str) -> dict[str, Any]:
        check_key(key)
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    @functools.cached_property
    def _linking(self) -> Any:
        """The client that makes links: it never connects, it only signs another host's name."""
        public = self._settings.public_endpoint
        return _connect(self._settings, public) if public else self._client

    def _link(self, operation: str, parameters: dict[str, Any], seconds: int) -> str:
        with _translated(parameters["Key"]):
            return str(
                self._linking.generate_presigned_url(
                    operation, Params=parameters, ExpiresIn=seconds
                )
            )

    def _put_if_absent(self, place: dict[str, Any], body: IO[bytes]) -> None:
        try:
            self._client.put_object(**place, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) != 501:
                raise
            # A server that knows no conditions: ask first. Our keys make a race harmless.
            if self._client.list_objects_v2(
                Bucket=place["Bucket"], Prefix=place["Key"], MaxKeys=1
            ).get("KeyCount"):
                raise ObjectExists(f"there is an object {place['Key']!r} already") from None
            body.seek(0)
            self._client.put_object(**place, Body=body)


class _PastTheEnd(Exception):
    """The range begins after the last byte."""


def _connect(settings: StorageSettings, endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=settings.region,
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint else "auto"},
            retries={"mode": "standard", "max_attempts": 3},
            connect_timeout=5,
            read_timeout=30,
            # Newer checksum headers are not understood by every server.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _meaning(error)(f"{key!r}: {error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageDenied(f"no S3 credentials: set NRV_STORAGE_ACCESS_KEY ({error})") from error
    except ParamValidationError as error:
        raise InvalidKey(f"{key!r}: {error}") from error
    except (BotoCoreError, Boto3Error, HTTPError) as error:
        raise StorageUnavailable(f"{key!r}: {error}") from error


def _meaning(error: ClientError) -> type[StorageError | _PastTheEnd]:
    code, status = error.response.get("Error", {}).get("Code", ""), _status(error)
    if status == 416:
        return _PastTheEnd
    return ERRORS.get(code, ERRORS.get(status, StorageUnavailable))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _chunks(body: Any, key: str) -> Iterator[bytes]:
    with _translated(key):
        try:
            yield from body.iter_chunks(CHUNK_BYTES)
        finally:
            body.close()
