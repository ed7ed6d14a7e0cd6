from __future__ import annotations

from typing import Any

import pytest

from encoder_service.cli import remote
from encoder_service.client import Client
from encoder_service.errors import ServiceUnreachable
from hypernet.errors import Cancelled


class Answers(Client):
    """Says what it was given, one thing a look."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        super().__init__("http://127.0.0.1:1", "nrv_1")
        self._answers = iter(answers)

    def encoding(self, encoding_id: str) -> dict[str, Any]:
        assert encoding_id == "enc_1"
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def seen(finished_at: str | None) -> dict[str, Any]:
    progress = {"frames_done": 1, "frames_total": 2, "eta_seconds": 3.0}
    return {"status": "encoding", "phase": "encode", "progress": progress} | {
        "finished_at": finished_at
    }


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "POLL_SECONDS", 0)


def test_waiting_survives_an_outage() -> None:
    outage = [ServiceUnreachable("gone")] * (remote.PATIENCE - 1)
    client = Answers(*outage, seen(None), *outage, seen("now"))
    assert remote._finished(client, "enc_1")["finished_at"] == "now"


def test_waiting_ends_when_the_service_stays_away() -> None:
    with pytest.raises(ServiceUnreachable):
        remote._finished(Answers(*[ServiceUnreachable("gone")] * remote.PATIENCE), "enc_1")


def test_an_interrupted_wait_leaves_the_encoding_alone() -> None:
    with pytest.raises(Cancelled, match="enc_1 goes on"):
        remote._finished(Answers(seen(None), Cancelled("interrupted")), "enc_1")


@pytest.mark.parametrize(("wanted", "path"), [("enc_1", "encodings"), ("bat_1", "batches")])
def test_what_is_cancelled_is_known_by_its_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wanted: str, path: str
) -> None:
    class Asked(Client):
        def _ask(self, method: str, asked: str, body: Any = None) -> dict[str, Any]:
            assert (method, asked, body) == ("DELETE", f"/v1/{path}/{wanted}", None)
            return {"id": wanted, "status": "cancelled", "phase": None, "result": None}

    monkeypatch.setattr(remote, "connect", lambda: Asked("http://127.0.0.1:1", "nrv_1"))
    remote.cancel(wanted)
    assert "cancelled" in capsys.readouterr().out
