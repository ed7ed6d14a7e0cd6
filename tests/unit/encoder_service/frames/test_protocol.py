from __future__ import annotations

import io

import pytest

from encoder_service.frames.protocol import receive, send


def test_messages_come_as_they_were_sent() -> None:
    pipe = io.BytesIO()
    send(pipe, {"kind": "bytes"}, b"line\nand more")
    send(pipe, {"kind": "read", "offset": 3})
    pipe.seek(0)
    assert receive(pipe) == ({"kind": "bytes"}, b"line\nand more")
    assert receive(pipe) == ({"kind": "read", "offset": 3}, b"")
    with pytest.raises(EOFError):
        receive(pipe)


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"payload_bytes": -1}\n',
        b'{"payload_bytes": 1e99}\n',
        b'{"payload_bytes": 99999999999}\n',
        b'{"a": "' + b"a" * 2**17,
    ],
)
def test_nonsense_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        receive(io.BytesIO(sent))


def test_half_a_message_is_the_end() -> None:
    with pytest.raises(EOFError):
        receive(io.BytesIO(b'{"payload_bytes": 9}\nhalf'))
