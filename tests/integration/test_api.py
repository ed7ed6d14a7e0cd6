from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from starlette.testclient import TestClient

from encoder_service.api.app import create_app
from encoder_service.api.context import Context
from encoder_service.api_keys import create_key, revoke_key
from encoder_service.database import Database
from encoder_service.jobs.records import Message, UnitKey
from encoder_service.jobs.states import UnitKind
from encoder_service.settings import DatabaseSettings
from hypernet.preset_names import PRESET_NAMES
from tests.factories import Service
from tests.fake_codec import source_of


def post(api: TestClient, **wanted: Any) -> Any:
    return api.post(
        "/v1/encodings", json={"source": "s3://films/a.mp4", "preset": "debug"} | wanted
    )


def post_file(api: TestClient, data: bytes, **options: Any) -> Any:
    fields = {"preset": "debug", **{name: str(value) for name, value in options.items()}}
    return api.post("/v1/encodings", files={"file": ("clip.mp4", data)}, data=fields)


def finished(api: TestClient, service: Service, *frames: int) -> str:
    encoding_id: str = post_file(api, source_of(*frames)).json()["id"]
    service.finish(encoding_id)
    return encoding_id


def assert_problem(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["detail"]


# Submitting


def test_a_file_becomes_a_stream(api: TestClient, service: Service) -> None:
    response = post_file(api, source_of(8, 8), quality=70, labels="demo")
    assert response.status_code == 202
    body = response.json()
    assert body["status"] == "queued"
    assert response.headers["location"] == f"/v1/encodings/{body['id']}"
    assert (body["settings"]["quality"], body["labels"]) == (70, ["demo"])
    service.finish(body["id"])

    done = api.get(response.headers["location"]).json()
    assert (done["status"], done["phase"]) == ("succeeded", None)
    assert done["progress"] == {"frames_done": 16, "frames_total": 16, "eta_seconds": None}
    assert [each["status"] for each in done["segments"]] == ["done", "done"]
    assert done["result"]["frames"] == 16
    stream = api.get(done["links"]["stream"])
    assert stream.status_code == 200
    assert len(stream.content) == done["result"]["stream_bytes"]
    assert stream.headers["content-disposition"] == f'attachment; filename="{body["id"]}.nrv"'


def test_json_names_a_source(api: TestClient, service: Service) -> None:
    body = post(api, target_psnr_db=33.5, priority=0, steps=10).json()
    assert body["source"] == "s3://films/a.mp4"
    assert body["settings"] == {
        "preset": "debug",
        "quality": None,
        "target_psnr_db": 33.5,
        "steps": 10,
        "budget_seconds": None,
        "seed": 0,
    }
    message = service.jobs.queue.receive()
    assert message == UnitKey(encoding_id=body["id"], kind=UnitKind.PLAN)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"quality": 0}, "quality"),
        ({"quality": "high"}, "quality"),
        ({"target_psnr_db": -1}, "target_psnr_db"),
        ({"budget_seconds": 0}, "budget_seconds"),
        ({"steps": 0}, "steps"),
        ({"priority": 10}, "priority"),
        ({"preset": "../etc"}, "preset"),
        ({"labels": [""]}, "labels"),
        ({"colour": "red"}, "colour"),
        ({"source": "clip.mp4"}, "source"),
        ({"source": ""}, "source"),
    ],
)
def test_bad_wishes_are_named(api: TestClient, wanted: dict[str, Any], field: str) -> None:
    response = post(api, **wanted)
    assert_problem(response, 422, "request.invalid")
    assert field in response.json()["detail"]


def test_an_unknown_preset_is_answered_with_those_that_exist(api: TestClient) -> None:
    detail = post(api, preset="nerv-xxl").json()["detail"]
    assert all(name in detail for name in PRESET_NAMES)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"source": NaN}', b"\xff\xfe"])
def test_malformed_json(api: TestClient, body: bytes) -> None:
    response = api.post("/v1/encodings", content=body, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "request.invalid")


@pytest.mark.parametrize("source", ["s3://secret/a.mp4", "/etc/passwd", "http://10.0.0.1/a"])
def test_sources_out_of_bounds(api: TestClient, source: str) -> None:
    assert_problem(post(api, source=source), 403, "access.denied")


def test_a_form_needs_a_file(api: TestClient) -> None:
    response = api.post("/v1/encodings", data={"preset": "debug"}, files={"other": b"x"})
    assert_problem(response, 422, "request.invalid")
    assert_problem(post_file(api, b""), 422, "request.invalid")
    assert_problem(post_file(api, b"x", quality=1000), 422, "request.invalid")


def test_an_idempotency_key_works_for_json_and_for_files(api: TestClient) -> None:
    key = {"Idempotency-Key": "k1"}
    wanted = {"source": "s3://films/a.mp4"}
    first = api.post("/v1/encodings", json=wanted, headers=key).json()
    assert api.post("/v1/encodings", json=wanted, headers=key).json()["id"] == first["id"]
    other = api.post("/v1/encodings", json=wanted | {"quality": 9}, headers=key)
    assert_problem(other, 409, "idempotency.mismatch")
    key = {"Idempotency-Key": "k2"}
    ids = {
        api.post("/v1/encodings", files={"file": b"film"}, headers=key).json()["id"]
        for _ in range(2)
    }
    assert len(ids) == 1


def test_a_large_upload_is_refused_before_it_is_read(api: TestClient) -> None:
    class Unread:
        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("the body was read")

    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": str(20 * 2**30),
    }
    response = api.post("/v1/encodings", content=Unread(), headers=headers)
    assert_problem(response, 413, "request.too_large")


def test_an_upload_of_unknown_length_is_counted(api: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while sent < 64 * 2**20:
            sent += 2**20
            yield bytes(2**20)

    response = api.post(
        "/v1/encodings",
        content=endless(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert_problem(response, 413, "request.too_large")


def test_json_has_a_limit_of_its_own(api: TestClient) -> None:
    assert_problem(post(api, source="s3://films/" + "a" * 20_000), 413, "request.too_large")


# Looking


def test_lists_have_pages_and_filters(api: TestClient) -> None:
    ids = [post(api, labels=["odd"] if n % 2 else []).json()["id"] for n in range(5)]
    first = api.get("/v1/encodings", params={"limit": 3}).json()
    assert [each["id"] for each in first["items"]] == ids[:1:-1]
    rest = api.get("/v1/encodings", params={"cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in rest["items"]] == ids[1::-1]
    assert rest["next_cursor"] is None
    odd = api.get("/v1/encodings", params={"label": "odd", "status": "queued"}).json()
    assert [each["id"] for each in odd["items"]] == [ids[3], ids[1]]
    assert_problem(api.get("/v1/encodings", params={"status": "odd"}), 422, "request.invalid")
    assert_problem(api.get("/v1/encodings", params={"limit": 0}), 422, "request.invalid")


def test_progress_counts_verified_frames(api: TestClient, service: Service) -> None:
    encoding_id = post_file(api, source_of(8, 4)).json()["id"]
    pipeline = service.pipeline()
    for _ in range(2):  # the plan and the first segment
        key = service.jobs.queue.receive()
        assert key is not None
        pipeline.run(key)
    body = api.get(f"/v1/encodings/{encoding_id}").json()
    assert (body["status"], body["phase"]) == ("encoding", "encode")
    assert (body["progress"]["frames_done"], body["progress"]["frames_total"]) == (8, 12)
    assert body["progress"]["eta_seconds"] >= 0


def test_a_failure_is_explained(api: TestClient, service: Service) -> None:
    encoding_id = post_file(api, b"not a video").json()["id"]
    service.finish(encoding_id)
    body = api.get(f"/v1/encodings/{encoding_id}").json()
    assert (body["status"], body["error_code"]) == ("failed", "video.unreadable")
    assert "not a video" in body["error_message"]
    assert "stream" not in body["links"]
    assert_problem(api.get(f"/v1/encodings/{encoding_id}/stream"), 409, "conflict")


def test_cancel_and_retry(api: TestClient) -> None:
    encoding_id = post(api).json()["id"]
    path = f"/v1/encodings/{encoding_id}"
    assert_problem(api.post(f"{path}/retry"), 409, "state.illegal")
    assert api.delete(path).json()["status"] == "cancelled"
    assert api.delete(path).json()["status"] == "cancelled"
    assert api.post(f"{path}/retry").json()["status"] == "queued"


def events_in(text: str) -> list[tuple[str, dict[str, Any]]]:
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines())
        for block in text.strip().split("\n\n")
    ]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def test_events_tell_the_story_and_end(api: TestClient, service: Service) -> None:
    encoding_id = finished(api, service, 8)
    path = f"/v1/encodings/{encoding_id}/events"
    response = api.get(path)
    assert response.headers["content-type"].startswith("text/event-stream")
    story = events_in(response.text)
    names = [name for name, _ in story if name != "progress"]
    assert names[0] == "submitted"
    assert names[-2:] == ["succeeded", "previewed"]
    assert story[-1] == (
        "progress",
        {"frames_done": 8, "frames_total": 8, "eta_seconds": None},
    )
    resumed = events_in(api.get(path, headers={"Last-Event-ID": str(len(names) - 1)}).text)
    assert [name for name, _ in resumed] == ["previewed", "progress"]


def test_ranges_of_the_stream(api: TestClient, service: Service) -> None:
    path = f"/v1/encodings/{finished(api, service, 8)}/stream"
    whole = api.get(path).content
    size = len(whole)
    for wanted, expected, content_range in (
        ("bytes=0-9", whole[:10], f"bytes 0-9/{size}"),
        ("bytes=10-", whole[10:], f"bytes 10-{size - 1}/{size}"),
        ("bytes=-5", whole[-5:], f"bytes {size - 5}-{size - 1}/{size}"),
        (f"bytes=5-{size * 9}", whole[5:], f"bytes 5-{size - 1}/{size}"),
    ):
        part = api.get(path, headers={"Range": wanted})
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["content-range"] == content_range
    for ignored in ("bytes=9-1", "lines=1-2", "bytes=0-1,3-4", "bytes=-"):
        assert api.get(path, headers={"Range": ignored}).content == whole
    beyond = api.get(path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")


# Keys


def test_requests_need_a_key(api: TestClient, context: Context) -> None:
    key, secret = create_key(context.database, "old")
    revoke_key(context.database, key.id)
    for header in ("", "Bearer", "Bearer nrv_wrong", f"Bearer {secret}", f"Basic {secret}"):
        response = api.get("/v1/encodings", headers={"Authorization": header})
        assert_problem(response, 401, "access.unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


def test_what_belongs_to_another_key_does_not_exist(api: TestClient, context: Context) -> None:
    _, secret = create_key(context.database, "stranger")
    stranger = {"Authorization": f"Bearer {secret}"}
    encoding = post_file(api, b"film").json()
    path = f"/v1/encodings/{encoding['id']}"
    for method, where in (
        ("GET", path),
        ("DELETE", path),
        ("POST", f"{path}/retry"),
        ("GET", f"{path}/events"),
        ("GET", f"{path}/stream"),
        ("GET", f"/v1/uploads/{encoding['source'].removeprefix('upload:')}"),
    ):
        assert_problem(api.request(method, where, headers=stranger), 404, "not_found")
    stolen = api.post("/v1/encodings", json={"source": encoding["source"]}, headers=stranger)
    assert_problem(stolen, 404, "not_found")
    assert api.get("/v1/encodings", headers=stranger).json()["items"] == []


# Large uploads


def test_an_upload_in_parts_can_be_resumed(api: TestClient, service: Service) -> None:
    data = source_of(8, 8) + b" " * 2400
    upload = api.post("/v1/uploads", json={"size_bytes": len(data)}).json()
    assert [part["size_bytes"] for part in upload["missing_parts"]] == [
        1000,
        1000,
        len(data) - 2000,
    ]
    anonymous = {"Authorization": ""}

    def send(part: dict[str, Any]) -> None:
        start = (part["number"] - 1) * upload["part_bytes"]
        body = data[start : start + part["size_bytes"]]
        assert api.put(part["url"], content=body, headers=anonymous).status_code == 200

    send(upload["missing_parts"][2])
    path = f"/v1/uploads/{upload['id']}"
    assert_problem(api.post(f"{path}/complete"), 409, "conflict")
    assert_problem(api.post("/v1/encodings", json={"source": upload["source"]}), 409, "conflict")
    resumed = api.get(path).json()
    assert resumed["stored_parts"] == [3]
    for part in resumed["missing_parts"]:
        send(part)
    done = api.post(f"{path}/complete").json()
    assert (done["complete"], done["missing_parts"]) == (True, [])
    assert api.post(f"{path}/complete").json() == done
    encoding = api.post("/v1/encodings", json={"source": done["source"]}).json()
    assert service.finish(encoding["id"]).status == "succeeded"


def test_an_upload_has_a_limit(api: TestClient) -> None:
    response = api.post("/v1/uploads", json={"size_bytes": 20 * 2**30})
    assert_problem(response, 413, "request.too_large")


def test_links_are_checked(api: TestClient) -> None:
    upload = api.post("/v1/uploads", json={"size_bytes": 5}).json()
    url = upload["missing_parts"][0]["url"]
    assert_problem(api.get(url), 403, "access.denied")
    assert_problem(api.put(url.replace("part=1", "part=2"), content=b"x"), 403, "access.denied")
    assert_problem(api.put(f"{url}&part=1", content=b"x"), 422, "request.invalid")
    assert_problem(api.put("/v1/objects/uploads/x", content=b"x"), 403, "access.denied")


# Operation


def test_health_and_readiness(api: TestClient) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").json() == {"status": "ready"}


def test_a_service_without_database_says_so(context: Context) -> None:
    nowhere = Database(DatabaseSettings(url="postgresql+psycopg://x@/x?host=/nowhere"))
    with TestClient(create_app(replace(context, database=nowhere))) as api:
        assert api.get("/healthz").status_code == 200
        response = api.get("/readyz")
        assert_problem(response, 503, "database.unavailable")
        assert response.headers["retry-after"]


def test_metrics(api: TestClient) -> None:
    post(api)
    text = api.get("/metrics").text
    assert 'nrv_encodings{status="queued"} 1.0' in text
    assert 'nrv_units{kind="plan",status="queued"} 1.0' in text


def test_unknown_routes_are_problems_too(api: TestClient) -> None:
    assert_problem(api.get("/v1/nothing"), 404, "not_found")
    for path, methods in (
        ("/v1/encodings", "GET, POST"),
        ("/v1/encodings/enc_1", "DELETE, GET"),
        ("/v1/objects/a", "GET, PUT"),
    ):
        refused = api.request("PATCH", path)
        assert_problem(refused, 405, "request.method")
        assert refused.headers["allow"] == methods


def test_our_own_faults_are_not_shown(context: Context) -> None:
    class Broken:
        def send(self, message: Message) -> None:
            raise ZeroDivisionError(f"secret of {message.unit}")

        def send_listing(self, batch_id: str, *, priority: int) -> None:
            raise ZeroDivisionError(f"secret of {batch_id}, {priority}")

        def depths(self) -> NoReturn:
            raise ZeroDivisionError("secret")

    _, secret = create_key(context.database, "tests")
    app = create_app(replace(context, queue=Broken()))
    headers = {"Authorization": f"Bearer {secret}"}
    with TestClient(app, headers=headers, raise_server_exceptions=False) as api:
        response = post(api)
    assert_problem(response, 500, "internal")
    assert "secret" not in response.text


def test_every_route_documents_its_refusals(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith("/v1/encodings"):
                assert {"401", "422"} & set(operation["responses"]), path
    submit = document["paths"]["/v1/encodings"]["post"]
    assert set(submit["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    assert {"202", "401", "403", "409", "413", "422", "503"} <= set(submit["responses"])
    form = submit["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert {"file", "preset", "labels"} <= set(form["properties"])


def test_the_api_never_imports_torch() -> None:
    code = (
        "import sys, encoder_service.api.app; "
        "sys.exit(bool({'torch', 'av', 'celery', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
