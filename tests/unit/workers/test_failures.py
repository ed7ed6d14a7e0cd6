from __future__ import annotations

from pathlib import Path

import pytest

from encoder_service.errors import StorageFull
from hypernet.errors import UnreadableVideo
from workers.failures import to_failure


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("cannot read {}/enc_1/source: no video", "cannot read the source: no video"),
        ("'{}/enc_1/source' is empty.", "'the source' is empty."),
        ("{}/.work-x1/stream.nrv: disk full", "a temporary file: disk full"),
        ("it lies in {}.", "it lies in a temporary file."),
        ("segment 3: 1/2 of it", "segment 3: 1/2 of it"),
    ],
)
def test_nobody_learns_where_we_keep_files(tmp_path: Path, message: str, shown: str) -> None:
    scratch = tmp_path / "scratch"
    for error in (UnreadableVideo, StorageFull):
        assert to_failure(error(message.format(scratch)), scratch=scratch).message == shown


def test_a_relative_folder_is_seen_through_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scratch = Path("data/scratch")
    for name in (scratch, scratch.absolute()):
        error = UnreadableVideo(f"cannot read {name}/enc_1/source")
        assert to_failure(error, scratch=scratch).message == "cannot read the source"


def test_foreign_errors_are_named(tmp_path: Path) -> None:
    failure = to_failure(OSError(f"bad {tmp_path}/enc_1/source"), scratch=tmp_path)
    assert (failure.code, failure.message) == ("internal", "OSError: bad the source")
