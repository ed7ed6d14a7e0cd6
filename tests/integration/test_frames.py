"""Frames and previews over HTTP, from streams that the real codec made."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import pytest
from starlette.testclient import TestClient

from encoder_service.api.context import Context
from encoder_service.api_keys import create_key
from encoder_service.errors import StorageFull
from encoder_service.storage.base import preview_key
from encoder_service.storage.local import LocalObjectStore
from tests.factories import Service
from tests.fake_codec import source_of
from tests.integration.test_api import assert_problem

# What is rendered does not depend on the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite_url"], indirect=True)

GOLDEN = Path(__file__).parents[1] / "golden" / "codec-debug.nrv"
FRAMES, WIDTH, HEIGHT = 3, 33, 26


@pytest.fixture
def encoding(api: TestClient, service: Service) -> dict[str, Any]:
    """A finished encoding whose stream is a real one."""
    files = {"file": ("clip.mp4", source_of(FRAMES))}
    encoding_id = api.post("/v1/encodings", files=files, data={"preset": "debug"}).json()["id"]
    key = service.finish(encoding_id).stream_key
    assert key is not None
    service.locations.own.put(key, io.BytesIO(GOLDEN.read_bytes()))
    body: dict[str, Any] = api.get(f"/v1/encodings/{encoding_id}").json()
    return body


def size_of(picture: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(picture), "r") as container:
        frame = next(container.decode(video=0))
    return frame.width, frame.height


def frame(encoding: dict[str, Any], name: str) -> str:
    return f"/v1/encodings/{encoding['id']}/frames/{name}"


def test_a_frame_is_decoded_once(
    api: TestClient, encoding: dict[str, Any], service: Service
) -> None:
    first = api.get(frame(encoding, "2.png"))
    assert (first.status_code, first.headers["content-type"]) == (200, "image/png")
    assert size_of(first.content) == (WIDTH, HEIGHT)
    assert first.headers["cache-control"].startswith("private")
    kept = [each.key for each in service.locations.own.list() if "/pictures/" in each.key]
    assert len(kept) == 1
    service.locations.own.put(kept[0], io.BytesIO(b"the kept one"))
    assert api.get(frame(encoding, "2.png")).content == b"the kept one"
    again = api.get(frame(encoding, "2.png"), headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert api.get(frame(encoding, "1.png")).headers["etag"] != first.headers["etag"]


def test_pictures_of_all_kinds(api: TestClient, encoding: dict[str, Any]) -> None:
    jpeg = api.get(frame(encoding, "0.jpg"), params={"width": 16})
    assert (jpeg.status_code, jpeg.headers["content-type"]) == (200, "image/jpeg")
    assert size_of(jpeg.content) == (16, 13)
    large = api.get(frame(encoding, "0.png"), params={"width": 4096})
    assert size_of(large.content) == (WIDTH, HEIGHT)


def test_links_lead_to_frames(api: TestClient, encoding: dict[str, Any]) -> None:
    template = encoding["links"]["frames"]
    path = template.replace("{?width}", "").replace("{number}", "1").replace("{format}", "jpg")
    assert api.get(path).status_code == 200


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("3.png", 404, "not_found"),
        ("2000000000.png", 404, "not_found"),
        ("-1.png", 422, "request.invalid"),
        ("99999999999.png", 422, "request.invalid"),
        ("one.png", 422, "request.invalid"),
        ("1.gif", 422, "request.invalid"),
        ("1.png?width=15", 422, "request.invalid"),
        ("1.png?width=4097", 422, "request.invalid"),
        ("1.png?width=wide", 422, "request.invalid"),
    ],
)
def test_pictures_that_are_not(
    api: TestClient, encoding: dict[str, Any], name: str, status: int, code: str
) -> None:
    response = api.get(frame(encoding, name))
    assert_problem(response, status, code)
    if status == 404:
        assert "has 3 frames: 0 to 2" in response.json()["detail"]


def test_an_encoding_at_work_has_no_frames(api: TestClient) -> None:
    files = {"file": ("clip.mp4", source_of(FRAMES))}
    encoding = api.post("/v1/encodings", files=files).json()
    assert set(encoding["links"]) == {"self", "events"}
    assert_problem(api.get(frame(encoding, "0.png")), 409, "conflict")


def test_frames_of_another_key_do_not_exist(
    api: TestClient, encoding: dict[str, Any], context: Context
) -> None:
    _, secret = create_key(context.database, "stranger")
    stranger = {"Authorization": f"Bearer {secret}"}
    assert_problem(api.get(frame(encoding, "0.png"), headers=stranger), 404, "not_found")
    anonymous = {"Authorization": ""}
    response = api.get(frame(encoding, "0.png"), headers=anonymous)
    assert_problem(response, 401, "access.unauthenticated")


def test_a_stream_that_is_gone_or_damaged(
    api: TestClient, encoding: dict[str, Any], service: Service
) -> None:
    key = service.encoding(encoding["id"]).stream_key
    assert key is not None
    service.locations.own.put(key, io.BytesIO(GOLDEN.read_bytes()[:-300]))
    assert_problem(api.get(frame(encoding, "0.png")), 500, "frame.failed")
    service.locations.own.delete(key)
    assert_problem(api.get(frame(encoding, "0.png")), 404, "storage.missing")


def test_a_full_store_shows_pictures_all_the_same(
    api: TestClient, encoding: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_store: LocalObjectStore, key: str, *_args: object, **_options: object) -> None:
        raise StorageFull(f"no space left for {key}")

    monkeypatch.setattr(LocalObjectStore, "put", full)
    assert api.get(frame(encoding, "0.png")).status_code == 200


# Previews


def test_a_preview_is_a_video_with_ranges(
    api: TestClient, encoding: dict[str, Any], service: Service
) -> None:
    path = encoding["links"]["preview"]
    whole = api.get(path)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
    part = api.get(path, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, whole.content[2:5])
    assert part.headers["content-type"] == "video/mp4"
    key = service.encoding(encoding["id"]).stream_key
    assert key is not None
    service.locations.own.delete(preview_key(key))
    assert_problem(api.get(path), 404, "storage.missing")


def test_previews_that_are_not_for_you(
    api: TestClient, encoding: dict[str, Any], context: Context
) -> None:
    _, secret = create_key(context.database, "stranger")
    stranger = {"Authorization": f"Bearer {secret}"}
    assert_problem(api.get(encoding["links"]["preview"], headers=stranger), 404, "not_found")
    files = {"file": ("clip.mp4", source_of(FRAMES))}
    waiting = api.post("/v1/encodings", files=files).json()
    assert_problem(api.get(f"/v1/encodings/{waiting['id']}/preview.mp4"), 409, "conflict")
