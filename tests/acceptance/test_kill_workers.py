"""Workers, broker, database and store die again and again; every encoding comes out the same."""

from __future__ import annotations

import os
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from encoder_service.jobs.states import EncodingStatus, Event
from encoder_service.settings import JobSettings
from tests.acceptance.fleet import BRISK, Fleet, Servers, quiet_bytes
from tests.clips import write_clip
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.servers.swift import SwiftServer

SEGMENT_FRAMES = 64  # of the preset "debug"
SETTINGS = {"preset": "debug", "device": "cpu"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    encodings: int
    segments: int
    kills: int
    restarts: tuple[str, ...]  # of servers, any number of each
    steps: int
    seconds: float  # that it may take


SHORT = Scenario(
    encodings=4, segments=4, kills=5, restarts=("redis", "postgres"), steps=150, seconds=100
)
LONG = Scenario(
    encodings=10,
    segments=6,
    kills=30,
    restarts=("redis", "postgres", "s3", "s3", "s3", "redis", "postgres"),
    steps=250,
    seconds=1000,
)


@pytest.fixture
def servers(postgres: PostgresServer, redis: RedisServer, swift: SwiftServer) -> Servers:
    return Servers(postgres=postgres, redis=redis, swift=swift)


@pytest.fixture
def dice(capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Random numbers; CHAOS_SEED repeats a run as far as processes can be repeated."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbits(32))
    with capsys.disabled():
        print(f"\nCHAOS_SEED={seed}")  # noqa: T201 - whoever sees it fail needs it
    return random.Random(seed)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The workers compute with one, and sums depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_clips(folder: Path, number: int, num_frames: int) -> dict[str, Path]:
    paths = {f"clip{index}": folder / f"clip{index}.mkv" for index in range(number)}
    for index, path in enumerate(paths.values()):
        write_clip(path, num_frames=num_frames, width=48 + 16 * (index % 2), height=32)
    return paths


def restart(servers: Servers, name: str, pause: threading.Event) -> None:
    """Stop a server, leave it away for a while, start it again; Redis has forgotten everything."""
    stop, start = {
        "redis": (servers.redis.stop, servers.redis.start),
        "postgres": (servers.postgres.stop, servers.postgres.start),
        "s3": (servers.swift.stop, servers.swift.start),
    }[name]
    stop()
    pause.wait(1.0)
    start()


def disturb(
    fleet: Fleet, servers: Servers, scenario: Scenario, dice: random.Random
) -> Counter[str]:
    """Kill and restart while there is work; returns what was killed how often."""
    plan = ["kill"] * scenario.kills + list(scenario.restarts)
    dice.shuffle(plan)
    killed: Counter[str] = Counter()
    pause = threading.Event()
    for action in plan:
        pause.wait(dice.uniform(0.2, 1.5))
        fleet.wait_until(lambda: fleet.leased() > 0, 60)
        if action == "kill":
            fleet.wait_until(hit(fleet, dice, killed), 60)
        else:
            restart(servers, action, pause)
    return killed


def hit(fleet: Fleet, dice: random.Random, killed: Counter[str]) -> Callable[[], bool]:
    def try_once() -> bool:
        said = fleet.kill(dice)
        if said is not None:
            killed[said] += 1
        return said is not None

    return try_once


def run(
    scenario: Scenario, servers: Servers, folder: Path, dice: random.Random
) -> tuple[Counter[str], Counter[str]]:
    """Run a scenario and check everything that can be seen; returns kills and events."""
    settings = {**SETTINGS, "steps": scenario.steps}
    clips = write_clips(folder, scenario.encodings, SEGMENT_FRAMES * scenario.segments)
    expected = quiet_bytes(clips, settings)
    configured = servers.settings(f"kill-{secrets.token_hex(4)}", BRISK, folder / "scratch")
    with Fleet(configured, folder / "logs") as fleet:
        submitted = {
            name: fleet.submit(path.read_bytes(), **settings) for name, path in clips.items()
        }
        killed = disturb(fleet, servers, scenario, dice)
        fleet.wait_until(lambda: fleet.ended(list(submitted.values())), scenario.seconds)
        events: Counter[str] = Counter()
        for name, encoding_id in submitted.items():
            encoding = fleet.encoding(encoding_id)
            assert encoding.status is EncodingStatus.SUCCEEDED, encoding.error_message
            assert encoding.stream_key is not None
            assert fleet.store.read(encoding.stream_key) == expected[name]
            fleet.check_objects(encoding_id)
            events += fleet.check_history(encoding_id)
        assert fleet.leased() == 0
    return killed, events


@pytest.mark.usefixtures("one_thread")
def test_everything_dies_and_every_encoding_succeeds(
    servers: Servers, tmp_path: Path, dice: random.Random
) -> None:
    killed, events = run(SHORT, servers, tmp_path, dice)
    assert sum(killed.values()) == SHORT.kills
    assert events[Event.SUCCEEDED] == SHORT.encodings
    # A unit whose worker died was taken back, which its history tells.
    assert 0 < events[Event.LEASE_LOST] <= SHORT.kills + 2 * len(SHORT.restarts)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("one_thread")
def test_chaos(servers: Servers, tmp_path: Path, dice: random.Random) -> None:
    killed, events = run(LONG, servers, tmp_path, dice)
    assert sum(killed.values()) == LONG.kills
    assert events[Event.SUCCEEDED] == LONG.encodings
    assert events[Event.LEASE_LOST] > 0


def test_a_killed_worker_is_replaced_within_30_seconds(servers: Servers, tmp_path: Path) -> None:
    """The promise at default settings, as the database saw it."""
    settings = servers.settings(
        f"recovery-{secrets.token_hex(4)}", JobSettings(), tmp_path / "scratch"
    )
    (clip,) = write_clips(tmp_path, 1, SEGMENT_FRAMES).values()
    with Fleet(settings, tmp_path / "logs") as fleet:
        endless = fleet.submit(clip.read_bytes(), **SETTINGS, steps=10_000_000)

        def leases() -> list[str]:
            events = fleet.queries.events(fleet.owner_id, endless)
            return [
                str(each.detail["worker"])
                for each in events
                if each.event is Event.LEASED and each.unit and each.unit.kind == "segment"
            ]

        fleet.wait_until(lambda: len(leases()) == 1, 60)
        child = psutil.Process(int(leases()[0].rpartition(":")[2]))
        for process in (child.parent(), child):
            assert process is not None
            process.kill()
        fleet.wait_until(lambda: len(leases()) == 2, 30)
        assert leases()[0] != leases()[1]
