"""``/v1/encodings/{id}/frames/...`` and ``preview.mp4``: what there is to look at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from encoder_service.api.context import Here, Owner
from encoder_service.api.objects import RangeHeader, serve
from encoder_service.api.problems import documented
from encoder_service.errors import (
    Conflict,
    FrameFailed,
    FrameTimedOut,
    NotFound,
    ObjectMissing,
    RendererLost,
    RenderersBusy,
)
from encoder_service.frames.pictures import Pictures, etag_of
from encoder_service.frames.request import (
    MAX_WIDTH,
    MIN_WIDTH,
    PictureFormat,
    PictureRequest,
)
from encoder_service.jobs.records import Encoding
from encoder_service.storage.base import preview_key

router = APIRouter(tags=["encodings"])

# What a stream holds never changes; another key in the same browser must ask for itself.
CACHING = {"Cache-Control": "private, max-age=86400, immutable", "Vary": "Authorization"}

Number = Annotated[int, Path(ge=0, lt=2**31, description="of the frame, from 0", examples=[0])]
Width = Annotated[
    int | None,
    Query(
        ge=MIN_WIDTH,
        le=MAX_WIDTH,
        description="in pixels, at most; the frame's own by default, and never more than that",
        examples=[320],
    ),
]
IfNoneMatch = Annotated[str | None, Header(description="ETag of a picture that you have")]


@router.get(
    "/encodings/{encoding_id}/frames/{number}.{picture_format}",
    summary="One frame as a picture",
    response_class=Response,
    responses={
        200: {"content": {each.media_type: {} for each in PictureFormat}},
        304: {"description": "you have it already"},
        **documented(NotFound, Conflict, FrameFailed, FrameTimedOut, RendererLost, RenderersBusy),
    },
)
def get_frame(
    *,
    encoding_id: str,
    number: Number,
    picture_format: PictureFormat,
    request: Request,
    context: Here,
    owner: Owner,
    width: Width = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Upright and with square pixels. PNG has every pixel as decoded; JPEG is a tenth of the size.

    Only the header of the stream and the segment of the frame are read and decoded.
    """
    encoding = context.queries.encoding(owner.id, encoding_id)
    if encoding.stream_key is None:
        raise Conflict(f"encoding {encoding_id} is {encoding.status}; it has no frames")
    _require_frame(encoding, number)
    wanted = PictureRequest(frame=number, picture_format=picture_format, width=width)
    headers = {"ETag": etag_of(encoding.stream_key, wanted), **CACHING}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    pictures = Pictures(context.locations.own, request.app.state.renderers)
    decode_file = (encoding.result or {}).get("decode_file")
    known = decode_file if isinstance(decode_file, str) else None
    picture = pictures.get(encoding.stream_key, known, wanted)
    return Response(picture, media_type=picture_format.media_type, headers=headers)


@router.get(
    "/encodings/{encoding_id}/preview.mp4",
    summary="Watch the beginning",
    response_class=Response,
    responses={
        200: {"content": {"video/mp4": {}}},
        206: {"description": "the range asked for"},
        416: {"description": "the range begins after the last byte"},
        **documented(NotFound, Conflict, ObjectMissing),
    },
)
def preview(
    encoding_id: str, context: Here, owner: Owner, range_header: RangeHeader = None
) -> Response:
    """The first 10 seconds at most, silent, at most 640 pixels wide, as H.264.

    It is made right after the stream is published; the event `previewed` or `preview_failed` tells.
    """
    encoding = context.queries.encoding(owner.id, encoding_id)
    if encoding.stream_key is None:
        raise Conflict(f"encoding {encoding_id} is {encoding.status}; it has no preview")
    key = preview_key(encoding.stream_key)
    try:
        return serve(
            context.locations.own, key, range_header, filename=None, media_type="video/mp4"
        )
    except ObjectMissing:
        raise ObjectMissing(
            f"encoding {encoding_id} has no preview: it is made after the stream; see its events"
        ) from None


def _require_frame(encoding: Encoding, number: int) -> None:
    count = encoding.num_frames or 0
    if number >= count:
        raise NotFound(f"encoding {encoding.id} has {count} frames: 0 to {count - 1}")
