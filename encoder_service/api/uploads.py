"""``/v1/uploads``: large sources in parts, straight into the object store, resumable."""

from __future__ import annotations

from fastapi import APIRouter, Response

from encoder_service.api.context import Context, Here, Owner
from encoder_service.api.problems import documented
from encoder_service.api.schemas import NewUpload, PartLink, UploadView
from encoder_service.errors import Conflict, NotFound, ObjectMissing, TooLarge
from encoder_service.uploads import Upload

router = APIRouter(tags=["uploads"])

LINKS_AT_ONCE = 100


@router.post(
    "/uploads", status_code=201, summary="Announce a large source", responses=documented(TooLarge)
)
def begin(wanted: NewUpload, response: Response, context: Here, owner: Owner) -> UploadView:
    """PUT each part to its link, in any order and as often as needed; then complete the upload."""
    settings = context.settings.api
    if wanted.size_bytes > settings.max_upload_bytes:
        raise TooLarge(f"a source has at most {settings.max_upload_bytes} bytes")
    upload = context.uploads.begin(
        owner.id, size_bytes=wanted.size_bytes, part_bytes=settings.part_bytes
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return _view(context, upload)


@router.get(
    "/uploads/{upload_id}",
    summary="What is still missing",
    responses=documented(NotFound, ObjectMissing),
)
def resume(upload_id: str, context: Here, owner: Owner) -> UploadView:
    """Fresh links for the parts that are not here yet."""
    return _view(context, context.uploads.get(owner.id, upload_id))


@router.post(
    "/uploads/{upload_id}/complete",
    summary="Join the parts",
    responses=documented(NotFound, ObjectMissing, Conflict),
)
def complete(upload_id: str, context: Here, owner: Owner) -> UploadView:
    """Afterwards its `source` can be submitted."""
    return _view(context, context.uploads.complete(owner.id, upload_id))


def _view(context: Context, upload: Upload) -> UploadView:
    seconds = context.settings.storage.link_seconds
    stored = context.uploads.parts(upload)
    numbers = range(1, upload.num_parts + 1)
    missing = [number for number in numbers if stored.get(number) != upload.part_size(number)]
    return UploadView(
        id=upload.id,
        source=upload.source,
        size_bytes=upload.size_bytes,
        part_bytes=upload.part_bytes,
        complete=upload.completed_at is not None,
        stored_parts=[number for number in numbers if number not in set(missing)],
        missing_parts=[
            PartLink(
                number=number,
                size_bytes=upload.part_size(number),
                url=context.uploads.link(upload, number, seconds=seconds),
            )
            for number in missing[:LINKS_AT_ONCE]
        ],
        expires_seconds=seconds,
    )
