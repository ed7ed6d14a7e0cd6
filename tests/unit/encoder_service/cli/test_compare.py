from __future__ import annotations

from pathlib import Path

import pytest

from hypernet.codec import encode_file
from hypernet.plan import EncodeSettings
from tests.clips import make_clip
from tests.unit.encoder_service.cli.conftest import NUM_FRAMES, Command

FIELDS = {"psnr_db", "psnr_y_db", "ms_ssim", "vmaf", "frames"}


def test_a_stream_measures_as_its_encoding_said(nrv: Command, clip: Path, tmp_path: Path) -> None:
    settings = EncodeSettings(preset="debug", steps=2, device="cpu")
    result = encode_file(clip, tmp_path / "clip.nrv", settings)
    fields = nrv("compare", clip, tmp_path / "clip.nrv", "--json").json()
    assert fields.keys() == FIELDS
    assert fields["psnr_db"] == pytest.approx(result.psnr_db, abs=0.01)
    assert fields["psnr_y_db"] == pytest.approx(result.psnr_y_db, abs=0.01)
    assert fields["frames"] == NUM_FRAMES
    assert 0 < fields["ms_ssim"] < 1


def test_decoded_without_loss_measures_the_same(
    nrv: Command, clip: Path, stream: Path, tmp_path: Path
) -> None:
    assert nrv("decode", stream, "-o", tmp_path / "out.mkv").status == 0
    of_stream = nrv("compare", clip, stream, "--json").json()
    of_video = nrv("compare", clip, tmp_path / "out.mkv", "--json").json()
    assert of_video == pytest.approx(of_stream, abs=1e-6)


def test_a_video_equals_itself(nrv: Command, clip: Path) -> None:
    fields = nrv("compare", clip, clip, "--json").json()
    assert (fields["psnr_db"], fields["psnr_y_db"]) == (None, None)
    assert fields["ms_ssim"] == pytest.approx(1)
    spoken = nrv("compare", clip, clip)
    assert spoken.status == 0
    assert spoken.out.startswith("psnr_db    -\n")


def test_videos_that_cannot_be_compared(nrv: Command, clip: Path, tmp_path: Path) -> None:
    longer = make_clip(tmp_path / "longer.mkv", num_frames=NUM_FRAMES + 1)
    larger = make_clip(tmp_path / "larger.mkv", num_frames=NUM_FRAMES, size=(66, 48))
    for other in (longer, larger, tmp_path / "missing.mp4", tmp_path):
        outcome = nrv("compare", clip, other, "--json")
        assert (outcome.status, outcome.out) == (3, "")
        assert outcome.err.startswith("nrv: ")
