"""Callbacks: what receivers get, and what they check it with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

from encoder_service.api.context import Here, Owner
from encoder_service.callbacks import callback_secret
from encoder_service.jobs.states import EncodingStatus

router = APIRouter(tags=["callbacks"])
news = APIRouter()  # not served: it describes what we send


class CallbackSecret(BaseModel):
    """What signs the callbacks of this API key."""

    secret: str = Field(examples=["3f5b"])


class EndedEncoding(BaseModel):
    """How an encoding ended."""

    id: str = Field(examples=["enc_01kagr7y3v"])
    status: EncodingStatus = Field(examples=["succeeded"])
    source: str = Field(examples=["s3://films/clip.mp4"])
    labels: list[str]
    batch_id: str | None
    destination: str | None
    retries: int
    result: dict[str, Any] | None = Field(description="what `nrv encode --json` prints")
    error_code: str | None
    error_message: str | None
    finished_at: datetime


class News(BaseModel):
    """The body of a callback."""

    id: str = Field(
        description="the same however often it is sent; answer repeats and ignore them",
        examples=["cbk_01kagr7y3v"],
    )
    type: str = Field(examples=["encoding.succeeded"])
    encoding: EndedEncoding


@router.get("/callbacks/secret", summary="What callbacks are signed with")
def get_secret(context: Here, owner: Owner) -> CallbackSecret:
    """The header `Nrv-Signature` is `t=SECONDS,v1=HEX`.

    HEX is the HMAC-SHA256, with this secret as the key, of SECONDS, a full stop and the body as it
    came. Compare it in constant time, and refuse what is minutes old.
    """
    secret = callback_secret(context.settings.storage.link_secret, owner.id)
    return CallbackSecret(secret=secret)


@news.post("{$request.body#/callback_url}", summary="An encoding has ended")
def told(
    body: News,
    nrv_signature: Annotated[str, Header(examples=["t=1700000000,v1=3f5b"])],
    nrv_callback_id: Annotated[str, Header(examples=["cbk_01kagr7y3v"])],
) -> None:
    """Sent at least once, and again with growing pauses until the answer is 2xx."""
