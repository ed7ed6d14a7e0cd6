from __future__ import annotations

import gc
import os
import signal
import time

import pytest

from encoder_service.cli import main as main_module
from encoder_service.cli import process
from encoder_service.cli.main import exit_status
from encoder_service.cli.options import (
    parse_decimals,
    parse_frames,
    parse_list,
    parse_numbers,
    parse_size,
)
from encoder_service.errors import (
    InvalidConfiguration,
    InvalidRequest,
    RemoteEncodingFailed,
    ServiceError,
    Unauthenticated,
)
from hypernet import errors
from hypernet.errors import Cancelled, HypernetError, InvalidSettings, MissingDecodeFile
from tests.unit.encoder_service.cli.conftest import Command

STATUS = {
    "InvalidSettings": 2,
    "UnreadableInput": 3,
    "UnreadableVideo": 3,
    "UnsupportedVideo": 3,
    "InvalidStream": 3,
    "MissingDecodeFile": 3,
    "OutputNotWritable": 5,
    "Cancelled": 130,
    "EncodeFailed": 1,
    "OutOfDeviceMemory": 1,
    "HypernetError": 1,
}


def test_every_error_has_its_documented_status() -> None:
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, HypernetError)
    }
    assert {name: exit_status(kind("why")) for name, kind in kinds.items()} == STATUS


def test_the_service_has_statuses_of_its_own() -> None:
    assert exit_status(ServiceError("why")) == 4
    assert exit_status(Unauthenticated("why")) == 4
    assert exit_status(InvalidConfiguration("why")) == 2
    assert exit_status(InvalidRequest("why")) == 2
    assert exit_status(RemoteEncodingFailed("why")) == 6


def test_without_a_command_help_is_shown(nrv: Command) -> None:
    outcome = nrv()
    assert outcome.status == 2
    local = ("encode", "decode", "inspect", "compare", "doctor", "bench")
    for command in (*local, "serve", "keys", "submit"):
        assert command in outcome.out


@pytest.mark.parametrize("command", ["encode", "decode", "inspect", "compare", "doctor"])
def test_every_command_explains_itself(nrv: Command, command: str) -> None:
    outcome = nrv(command, "--help")
    assert outcome.status == 0
    assert "--json" in outcome.out or command == "decode"


def test_an_unknown_command(nrv: Command) -> None:
    outcome = nrv("frobnicate")
    assert (outcome.status, outcome.out) == (2, "")
    assert "frobnicate" in outcome.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_unwind_like_errors(nrv: Command, number: signal.Signals) -> None:
    nrv("--help")
    with pytest.raises(Cancelled, match="nothing was written"):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, (0, None)), ("3:7", (3, 7)), (":7", (0, 7)), ("3:", (3, None)), (":", (0, None))],
)
def test_frames(text: str | None, expected: tuple[int, int | None]) -> None:
    assert parse_frames(text) == expected


def test_sizes() -> None:
    assert parse_size("--size", "640x360") == (640, 360)
    assert parse_size("--size", "1x8192") == (1, 8192)


@pytest.mark.parametrize("text", ["", "3", "a:b", "3:3", "7:3", "-1:3", "1:2:3", "0:0"])
def test_wrong_frames(text: str) -> None:
    with pytest.raises(InvalidSettings, match="--frames"):
        parse_frames(text)


@pytest.mark.parametrize("text", ["", "640", "0x10", "10x0", "8193x10", "10x-3", "axb", "1x2x3"])
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(InvalidSettings, match="--sizes"):
        parse_size("--sizes", text)


def test_lists_of_numbers() -> None:
    assert parse_numbers("--epochs", "20,80") == [20, 80]
    assert parse_decimals("--seconds", "0.5,2") == [0.5, 2.0]
    assert not parse_numbers("--epochs", "")
    assert not parse_list("")


@pytest.mark.parametrize("text", ["1,b", "1.5", "-1", "1 2"])
def test_wrong_numbers(text: str) -> None:
    with pytest.raises(InvalidSettings, match="--epochs"):
        parse_numbers("--epochs", text)


@pytest.mark.parametrize("text", ["1,b", "1 2"])
def test_wrong_decimals(text: str) -> None:
    with pytest.raises(InvalidSettings, match="--seconds"):
        parse_decimals("--seconds", text)


def test_the_process_began_before_now() -> None:
    assert process.started() < process._IMPORTED < time.monotonic()


def test_garbage_is_sought_after_imports_but_not_among_them() -> None:
    with process.importing():
        assert not gc.isenabled()
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    assert gc.isenabled()
    assert frozen > 0


def test_a_missing_decode_file_comes_with_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    digest = "5" * 64
    with pytest.raises(SystemExit) as end:
        main_module._refuse(MissingDecodeFile(f"the stream needs decode file {digest}"))
    assert end.value.code == 3
    assert f'"$NRV_URL/v1/decode-files/{digest}"' in capsys.readouterr().err
