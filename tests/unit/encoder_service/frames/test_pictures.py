"""Pictures that need more than the stream, with a renderer that does not render."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder_service.errors import FrameFailed, ObjectMissing
from encoder_service.frames import pool
from encoder_service.frames.pictures import Pictures
from encoder_service.frames.pool import RendererPool
from encoder_service.frames.request import PictureFormat, PictureRequest
from encoder_service.settings import FrameSettings
from encoder_service.storage.base import decode_file_key, stream_key
from encoder_service.storage.links import LinkSigner
from encoder_service.storage.local import LocalObjectStore
from tests.unit.encoder_service.frames import misbehaving

STREAM = stream_key("enc_1", "00")
WANTED = PictureRequest(frame=misbehaving.MODELS, picture_format=PictureFormat.PNG)
CONTENT = b"kernels and a prior"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    made = LocalObjectStore(tmp_path / "objects", LinkSigner("secret", "http://127.0.0.1:1"))
    made.put(STREAM, io.BytesIO(b"stream"))
    return made


@pytest.fixture
def renderers(monkeypatch: pytest.MonkeyPatch) -> Iterator[RendererPool]:
    monkeypatch.setattr(pool, "RENDERING", misbehaving.__name__)
    monkeypatch.delenv("NRV_MODELS", raising=False)
    made = RendererPool(FrameSettings(seconds=60))
    yield made
    made.close()


def test_a_decode_file_is_fetched(store: LocalObjectStore, renderers: RendererPool) -> None:
    name = f"{DIGEST[:16]}.decode.safetensors"
    store.put(decode_file_key(name), io.BytesIO(CONTENT))
    assert Pictures(store, renderers).get(STREAM, DIGEST, WANTED) == CONTENT
    models = renderers.models()
    assert [path.name for path in models.iterdir()] == [name]
    renderers.close()
    assert not models.exists()


def test_a_decode_file_that_nobody_has(store: LocalObjectStore, renderers: RendererPool) -> None:
    with pytest.raises(ObjectMissing, match=DIGEST[:16]):
        Pictures(store, renderers).get(STREAM, DIGEST, WANTED)
    with pytest.raises(FrameFailed, match="put it into a folder"):
        Pictures(store, renderers).get(STREAM, None, WANTED)


def test_a_folder_of_the_operator_is_used(
    store: LocalObjectStore,
    renderers: RendererPool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NRV_MODELS", str(tmp_path))
    assert renderers.models() == tmp_path
    (tmp_path / "0.decode.safetensors").write_bytes(b"installed")
    assert Pictures(store, renderers).get(STREAM, None, WANTED) == b"installed"
