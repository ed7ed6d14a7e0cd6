from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypernet.bitstream.header import HEADER_FIELDS
from hypernet.bitstream.reader import StreamReader
from hypernet.bitstream.sources import FileSource
from hypernet.segment_decoder import SegmentDecoder
from tests.unit.encoder_service.cli.conftest import NUM_FRAMES, Command


def test_json_accounts_for_every_byte(nrv: Command, stream: Path) -> None:
    fields = nrv("inspect", stream, "--json").json()
    assert fields["header"].keys() == {*HEADER_FIELDS, "decoder_config"}
    assert fields["header"]["width"] == "64"
    parts = fields["bytes"]
    assert parts["stream"] == stream.stat().st_size
    assert parts["stream"] == sum(parts[p] for p in ("front", "segments", "audio", "metadata"))
    assert parts["audio"] > 0
    (segment,) = fields["segments"]
    assert segment == {
        "first_frame": 0,
        "frames": NUM_FRAMES,
        "first_pts": 0,
        "clips": 1,
        "refinement_steps": 2,
        "bytes": parts["segments"],
    }
    assert "verified_weights" not in fields


def test_verify_decodes_every_symbol(nrv: Command, stream: Path) -> None:
    with FileSource(stream) as source:
        specs = SegmentDecoder(StreamReader(source).header).specs_of(NUM_FRAMES)
    fields = nrv("inspect", stream, "--verify", "--json").json()
    assert fields["verified_weights"] == sum(spec.size for spec in specs)


def test_people_read_the_same(nrv: Command, stream: Path) -> None:
    outcome = nrv("inspect", stream, "--verify")
    assert outcome.status == 0
    assert all(f"\n{name} " in outcome.out for name in HEADER_FIELDS)
    assert "segment 0: first_frame 0" in outcome.out
    assert f"stream bytes    {stream.stat().st_size}" in outcome.out
    assert "verified: all checksums" in outcome.out


def test_verify_finds_damage_that_a_look_does_not(
    nrv: Command, stream: Path, tmp_path: Path
) -> None:
    with FileSource(stream) as source:
        audio = StreamReader(source).index.audio
    assert audio is not None
    data = bytearray(stream.read_bytes())
    data[audio.offset + audio.length // 2] ^= 1
    (tmp_path / "damaged.nrv").write_bytes(data)
    assert nrv("inspect", tmp_path / "damaged.nrv").status == 0
    outcome = nrv("inspect", tmp_path / "damaged.nrv", "--verify")
    assert (outcome.status, outcome.out) == (3, "")
    assert "the audio is damaged: its checksum" in outcome.err


def test_inspecting_needs_no_torch(stream: Path) -> None:
    program = "\n".join(
        [
            "import sys",
            "from encoder_service.cli.main import main",
            "try:",
            "    main(sys.argv[1:])",
            "finally:",
            "    assert not {'torch', 'av'} & set(sys.modules)",
        ]
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "inspect", str(stream), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(result.stdout)["bytes"]["stream"] == stream.stat().st_size
