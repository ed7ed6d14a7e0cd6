"""Routes of batches and callbacks; limits; what OpenAPI says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from encoder_service.api.app import create_app
from encoder_service.api.context import Context
from encoder_service.api_keys import create_key
from encoder_service.callbacks import callback_secret
from encoder_service.jobs.states import UnitKind
from encoder_service.settings import ApiSettings
from tests.factories import Service
from tests.fake_codec import source_of
from tests.integration.test_api import assert_problem, post, post_file

FILMS = {"source": "s3://films/2026/", "preset": "debug"}


def post_batch(api: TestClient, **wanted: Any) -> Any:
    return api.post("/v1/batches", json=FILMS | wanted)


# Batches


def test_a_batch_is_stored_and_its_listing_sent(api: TestClient, service: Service) -> None:
    response = post_batch(api, include="*.mp4", out="s3://films/streams", labels=["a"], steps=3)
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == f"/v1/batches/{body['id']}"
    assert (body["status"], body["listing"], body["objects"]) == ("listing", "queued", 0)
    assert (body["include"], body["out"], body["labels"]) == ("*.mp4", "s3://films/streams", ["a"])
    assert (body["settings"]["preset"], body["settings"]["steps"]) == ("debug", 3)
    assert service.jobs.queue.receive_listing() == body["id"]
    assert api.get(response.headers["location"]).json() == body


def test_asking_again_is_the_same_batch(api: TestClient) -> None:
    first = post_batch(api).json()["id"]
    assert post_batch(api).json()["id"] == first
    assert post_batch(api, include="*.mp4").json()["id"] != first


@pytest.mark.parametrize("place", [{"source": "s3://secret/a"}, {"out": "s3://secret/a"}])
def test_buckets_that_are_not_allowed(api: TestClient, place: dict[str, str]) -> None:
    assert_problem(post_batch(api, **place), 403, "access.denied")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"source": "films"}, "prefix"),
        ({"source": "/etc"}, "prefix"),
        ({"source": "s3:///a"}, "s3://"),
        ({"out": ""}, "out"),
        ({"include": ""}, "include"),
        ({"include": "*\0"}, "include"),
        ({"colour": "red"}, "colour"),
        ({"preset": "x"}, "preset"),
    ],
)
def test_bad_wishes(api: TestClient, wanted: dict[str, Any], field: str) -> None:
    response = post_batch(api, **wanted)
    assert response.status_code in {403, 422}
    assert field in response.json()["detail"]


def test_a_batch_is_cancelled(api: TestClient, service: Service) -> None:
    batch_id = post_batch(api).json()["id"]
    service.jobs.submit(batch_id=batch_id)
    response = api.delete(f"/v1/batches/{batch_id}")
    assert response.status_code == 202
    body = response.json()
    assert (body["status"], body["listing"], body["error_code"]) == (
        "failed",
        "failed",
        "batch.cancelled",
    )
    assert (body["encodings"]["queued"], body["encodings"]["cancelled"]) == (0, 1)
    assert api.delete(f"/v1/batches/{batch_id}").json() == body
    assert_problem(api.delete("/v1/batches/bat_1"), 404, "not_found")


def test_a_batch_belongs_to_its_key(api: TestClient, context: Context) -> None:
    _, secret = create_key(context.database, "stranger")
    path = f"/v1/batches/{post_batch(api).json()['id']}"
    stranger = {"Authorization": f"Bearer {secret}"}
    assert_problem(api.get(path, headers=stranger), 404, "not_found")
    assert_problem(api.get("/v1/batches/bat_x"), 404, "not_found")


def test_the_status_follows_from_listing_and_encodings(api: TestClient, service: Service) -> None:
    from encoder_service.jobs.listings import ListingRepository

    batch_id = post_batch(api).json()["id"]
    listings = ListingRepository(service.jobs.database, service.jobs.repository.settings)
    lease = listings.lease(batch_id, "one")
    assert lease is not None
    good = service.submit(8, batch_id=batch_id)

    def seen() -> tuple[str, int, int]:
        body = api.get(f"/v1/batches/{batch_id}").json()
        return body["status"], body["encodings"]["succeeded"], body["encodings"]["failed"]

    assert seen() == ("listing", 0, 0)
    listings.finish(lease)
    assert seen() == ("encoding", 0, 0)
    service.finish(good)
    assert seen() == ("succeeded", 1, 0)
    service.finish(service.jobs.submit(source="upload:none", batch_id=batch_id).id)
    assert seen() == ("failed", 1, 1)
    listed = api.get(f"/v1/encodings?batch={batch_id}&status=succeeded").json()["items"]
    assert [each["id"] for each in listed] == [good]


# Callbacks


def test_a_callback_url_is_kept_and_shown(api: TestClient) -> None:
    url = "https://example.com/told?x=1"
    assert post(api, callback_url=url).json()["callback_url"] == url
    assert post_file(api, b"film", callback_url=url).json()["callback_url"] == url
    assert post_batch(api, callback_url=url).json()["callback_url"] == url


def test_the_state_of_callbacks_is_shown(api: TestClient, service: Service) -> None:
    encoding_id = post(api, callback_url="https://example.com/told").json()["id"]
    assert api.get(f"/v1/encodings/{encoding_id}").json()["callbacks"] == []
    service.finish(encoding_id)  # there is no such film
    (told,) = api.get(f"/v1/encodings/{encoding_id}").json()["callbacks"]
    assert (told["status"], told["attempts"], told["last_error"]) == ("pending", 0, None)
    assert told["next_attempt_at"]
    assert told["ended_at"] is None


@pytest.mark.parametrize("send", [post, post_batch])
def test_callbacks_into_our_own_network_are_refused_at_once(api: TestClient, send: Any) -> None:
    for url in ("http://127.0.0.1:8000/", "http://localhost/", "http://169.254.169.254/latest"):
        assert_problem(send(api, callback_url=url), 403, "access.denied")
    assert_problem(send(api, callback_url="ftp://example.com"), 422, "request.invalid")


def test_the_secret_of_callbacks_is_that_of_the_key(
    api: TestClient, context: Context, service: Service
) -> None:
    secret = api.get("/v1/callbacks/secret").json()["secret"]
    link_secret = context.settings.storage.link_secret
    assert secret == callback_secret(link_secret, service.jobs.owner_id)


# Limits


@pytest.fixture
def slow(context: Context) -> Iterator[TestClient]:
    """An API that lets a key send three requests, and then one in a thousand seconds."""
    _, secret = create_key(context.database, "slow")
    limits = replace(context.settings.api, requests_per_second=0.001, request_burst=3)
    settings = replace(context.settings, api=limits)
    headers = {"Authorization": f"Bearer {secret}"}
    with TestClient(create_app(replace(context, settings=settings)), headers=headers) as client:
        yield client


def test_a_key_that_asks_too_often_is_told_when_to_come_back(
    slow: TestClient, context: Context
) -> None:
    assert [slow.get("/v1/encodings").status_code for _ in range(3)] == [200] * 3
    refused = slow.get("/v1/encodings")
    assert_problem(refused, 429, "request.rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 1000
    _, other = create_key(context.database, "other")
    other_key = {"Authorization": f"Bearer {other}"}
    assert slow.get("/v1/encodings", headers=other_key).status_code == 200
    assert slow.get("/healthz").status_code == 200


def test_the_usual_limit_lets_a_busy_client_work() -> None:
    assert ApiSettings().requests_per_second >= 150


# Words


def test_mistakes_are_said_in_our_words(api: TestClient) -> None:
    detail = post(api, preset="nerv-xxl").json()["detail"]
    assert detail.startswith("preset: unknown preset 'nerv-xxl'")
    assert "Value error" not in post_batch(api, preset="nerv-xxl").json()["detail"]
    assert "Value error" not in post_file(api, b"film", preset="nerv-xxl").json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/encodings/%00",
        "/v1/encodings/a%00/stream",
        "/v1/batches/%00",
        "/v1/uploads/%00",
        "/v1/encodings?label=%00",
        "/v1/encodings?batch=%00",
        "/v1/encodings?cursor=%00",
    ],
)
def test_a_nul_is_no_fault_of_ours(api: TestClient, path: str) -> None:
    assert api.get(path).status_code in {404, 422}


def test_a_nul_in_what_is_submitted(api: TestClient) -> None:
    for wanted in (
        {"labels": ["a\0"]},
        {"source": "s3://films/a\0"},
        {"callback_url": "http://a\0"},
    ):
        assert_problem(post(api, **wanted), 422, "request.invalid")


def test_a_form_that_is_no_form(api: TestClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    broken = api.post("/v1/encodings", content=b"--x\r\n[None]--x--\r\n", headers=headers)
    assert_problem(broken, 422, "request.invalid")


# Estimates


def test_what_waits_is_told_how_long(api: TestClient, service: Service) -> None:
    first = post_file(api, source_of(8, 8)).json()["id"]
    path = f"/v1/encodings/{first}"
    assert api.get(path).json()["progress"]["eta_seconds"] is None  # nothing was measured yet
    service.finish(first)
    ahead = post_file(api, source_of(16)).json()["id"]
    last = post_file(api, source_of(8)).json()["id"]
    urgent = post_file(api, source_of(4), priority=0).json()["id"]

    def eta(encoding_id: str) -> Any:
        return api.get(f"/v1/encodings/{encoding_id}").json()["progress"]["eta_seconds"]

    assert eta(first) is None
    assert 0 < eta(urgent) < eta(ahead) < eta(last)
    key = service.jobs.queue.receive()
    assert key is not None
    assert (key.encoding_id, key.kind) == (urgent, UnitKind.PLAN)
    typical = eta(urgent)
    service.pipeline().run(key)
    assert eta(urgent) == pytest.approx(typical * 4 / 16)  # now its length is known


# OpenAPI


def test_every_route_that_wants_a_key_says_how_it_refuses(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "security" in operation:
                assert {"401", "422", "429", "503"} <= set(operation["responses"]), path


def test_what_is_refused_by_its_form_is_described(api: TestClient, context: Context) -> None:
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["NewBatch"]["properties"]["source"]["pattern"].startswith("^s3://")
    size = schemas["NewUpload"]["properties"]["size_bytes"]
    assert size["maximum"] == context.settings.api.max_upload_bytes
    submit = api.get("/openapi.json").json()["paths"]["/v1/encodings"]["post"]
    source = submit["requestBody"]["content"]["application/json"]["schema"]["properties"]["source"]
    assert source["pattern"].startswith("^(upload:")
    assert "callbacks" in submit
