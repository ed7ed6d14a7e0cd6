"""What the service costs beside the encoding itself, and what a second worker is worth."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

from encoder_service.bench.report import Figure
from encoder_service.bench.service import Service, environment, running_workers
from encoder_service.errors import RemoteEncodingFailed
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video
from hypernet.evaluation.synthetic import landscape

WIDTH, HEIGHT, SEGMENT_FRAMES = 160, 96, 64
OVERHEAD_SEGMENTS, OVERHEAD_STEPS = 4, 20
SCALING_SEGMENTS, SCALING_STEPS = 12, 300  # what a fit takes at least
REPEATS = 3
PRESET = "nerv-s"
LONGEST_SECONDS = 600.0
POLL_SECONDS = 0.25  # asking ten times a second takes a twentieth of a core


def measure_overhead(service: Service) -> list[Figure]:
    """The same clip through `nrv encode` and through the service, one thread and one worker.

    The time of the service runs from the first byte that is sent to the moment when a client that
    asks four times a second sees the end; its worker has been at work before, as workers have.
    """
    source = _clip(service.folder, OVERHEAD_SEGMENTS)
    alone, served, beside = [], [], []
    with running_workers(service, 1):
        _encode(service, source, steps=1)  # the worker imports what it needs
        for _ in range(REPEATS):
            alone.append(_encode_alone(service, source, steps=OVERHEAD_STEPS))
            seconds, at_segments = _encode(service, source, steps=OVERHEAD_STEPS)
            served.append(seconds)
            beside.append(seconds - at_segments)
    wanted = f"< {1.5 + 0.1 * OVERHEAD_SEGMENTS:g}"
    overhead = statistics.median(served) - statistics.median(alone)
    return [
        _overhead("segments", OVERHEAD_SEGMENTS, "segments"),
        _overhead("nrv encode", statistics.median(alone), "s"),
        _overhead("service", statistics.median(served), "s"),
        _overhead("overhead", overhead, "s", wanted),
        # Harder to meet: nrv encode starts a process for it, and plans and assembles, too.
        _overhead("service less the work at its segments", statistics.median(beside), "s", wanted),
    ]


def measure_scaling(service: Service) -> list[Figure]:
    """One encoding of many segments with one worker of one thread, and with two of them.

    Beside it, what the machine itself allows: two processes of one thread that share nothing.
    """
    source = _clip(service.folder, SCALING_SEGMENTS)
    seconds = {}
    for workers in (1, 2):
        with running_workers(service, workers):
            for _ in range(workers):  # both import what they need
                _encode(service, source, steps=1)
            seconds[workers], _ = _encode(service, source, steps=SCALING_STEPS)
    return [
        _scaling("segments", SCALING_SEGMENTS, "segments"),
        _scaling("one worker", seconds[1], "s"),
        _scaling("two workers", seconds[2], "s"),
        _scaling("speed-up", seconds[1] / seconds[2], "times", "> 1.7"),
        _scaling("what the machine allows", _machine_speed_up(service), "times"),
    ]


def _machine_speed_up(service: Service) -> float:
    source = _clip(service.folder, OVERHEAD_SEGMENTS)

    def encode(output: str) -> float:
        return _encode_alone(service, source, steps=SCALING_STEPS, output=output)

    one = encode("alone.nrv")
    with ThreadPoolExecutor(2) as pool:
        both = max(pool.map(encode, ("left.nrv", "right.nrv")))
    return 2 * one / both


def _overhead(name: str, value: float, unit: str, wanted: str = "") -> Figure:
    return Figure(measurement="overhead", name=name, value=value, unit=unit, wanted=wanted)


def _scaling(name: str, value: float, unit: str, wanted: str = "") -> Figure:
    return Figure(measurement="workers", name=name, value=value, unit=unit, wanted=wanted)


def _clip(folder: Path, segments: int) -> Path:
    path = folder / f"{segments}.mkv"
    frames = landscape(WIDTH, HEIGHT, segments * SEGMENT_FRAMES)
    write_video(frames, path, Fraction(25), LOSSLESS_RGB)
    return path


def _encode_alone(
    service: Service, source: Path, *, steps: int, output: str = "alone.nrv"
) -> float:
    program = [sys.executable, "-m", "encoder_service.cli.main", "encode", str(source)]
    options = ["--preset", PRESET, "--steps", str(steps), "--device", "cpu", "--json"]
    done = subprocess.run(  # noqa: S603 - our own command
        [*program, "-o", str(service.folder / output), *options],
        check=True,
        stdout=subprocess.PIPE,
        env={**environment(service.settings), "OMP_NUM_THREADS": "1"},
    )
    return float(json.loads(done.stdout)["encode_seconds"])


def _encode(service: Service, source: Path, *, steps: int) -> tuple[float, float]:
    """Seconds from the upload to the end, and those of them that went into segments.

    Raises:
        RemoteEncodingFailed: it did not succeed.
    """
    begun = time.monotonic()
    with source.open("rb") as file:
        upload = service.remote.begin_upload(source.stat().st_size)
        name = service.remote.send_parts(upload, file, lambda _: None)
    encoding = service.remote.submit(name, {"preset": PRESET, "steps": steps})
    ended = _wait_for(service, encoding["id"])
    if ended["status"] != "succeeded":
        raise RemoteEncodingFailed(f"{ended['error_code']}: {ended['error_message']}")
    return time.monotonic() - begun, float(ended["result"]["encode_seconds"])


def _wait_for(service: Service, encoding_id: str) -> Mapping[str, Any]:
    pause = threading.Event()
    for _ in range(int(LONGEST_SECONDS / POLL_SECONDS)):
        seen = service.remote.encoding(encoding_id)
        if seen["finished_at"] is not None:
            return seen
        pause.wait(POLL_SECONDS)
    raise RemoteEncodingFailed(f"{encoding_id} took more than {LONGEST_SECONDS:g} s")
