from __future__ import annotations

import hashlib
import io

from starlette.testclient import TestClient

from encoder_service.decode_files import name_of
from encoder_service.storage.base import decode_file_key
from tests.factories import Service

DATA = b"weights that many streams share"
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_published_file_is_found_by_its_hash(api: TestClient, service: Service) -> None:
    service.locations.own.put(decode_file_key(name_of(DIGEST)), io.BytesIO(DATA))
    response = api.get(f"/v1/decode-files/{DIGEST}")
    assert (response.status_code, response.content) == (200, DATA)
    assert f'filename="{name_of(DIGEST)}"' in response.headers["content-disposition"]
    assert "immutable" in response.headers["cache-control"]


def test_other_bytes_are_not_given_out(api: TestClient, service: Service) -> None:
    service.locations.own.put(decode_file_key(name_of(DIGEST)), io.BytesIO(b"damage"))
    assert api.get(f"/v1/decode-files/{DIGEST}").json()["code"] == "not_found"


def test_hashes_that_are_none(api: TestClient) -> None:
    assert api.get(f"/v1/decode-files/{DIGEST}").status_code == 404
    for name in (DIGEST[:16], DIGEST.upper(), "x" * 64, DIGEST + "0"):
        assert api.get(f"/v1/decode-files/{name}").status_code == 422


def test_strangers_get_nothing(api: TestClient) -> None:
    stranger = {"Authorization": "Bearer nrv_x"}
    assert api.get(f"/v1/decode-files/{DIGEST}", headers=stranger).status_code == 401
