"""``/v1/decode-files``: what streams need besides themselves, for those who decode elsewhere."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Response

from encoder_service.api.context import Here, Owner
from encoder_service.api.problems import documented
from encoder_service.decode_files import name_of
from encoder_service.errors import NotFound, ObjectMissing
from encoder_service.storage.base import decode_file_key

router = APIRouter(tags=["decode files"])

Digest = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file, as the stream quotes it",
        examples=["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ),
]
FOR_EVER = "private, max-age=31536000, immutable"  # other bytes would have another hash


@router.get(
    "/decode-files/{sha256}",
    summary="Download a decode file",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        **documented(NotFound),
    },
)
def download(sha256: Digest, context: Here, _: Owner) -> Response:
    """At most 1 MiB. Put it into the folder that NRV_MODELS names, under the name it has here."""
    name = name_of(sha256)
    try:
        data = context.locations.own.read(decode_file_key(name))
    except ObjectMissing:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise NotFound(f"there is no decode file {sha256}")
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": FOR_EVER,
        "ETag": f'"{sha256}"',
    }
    return Response(data, media_type="application/octet-stream", headers=headers)
