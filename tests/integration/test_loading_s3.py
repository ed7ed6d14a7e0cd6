"""The loader on a real S3 server, and behind one that fails now and then."""

from __future__ import annotations

import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from hypernet.bitstream.sources import FileSource
from hypernet.codec import encode_file
from hypernet.decoding import NrvStream
from hypernet.errors import InvalidSettings, InvalidStream, UnreadableInput
from hypernet.loader import NrvDataset, NrvLoader
from hypernet.loading import s3
from hypernet.loading.catalogue import StreamPlace, find_streams
from hypernet.loading.range_cache import RangeCache
from hypernet.loading.s3 import S3Client, S3Source
from hypernet.plan import EncodeSettings
from tests.clips import Sound, make_clip, moving
from tests.servers.swift import SwiftServer

prefixes = itertools.count()


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments, and sound that nobody who trains on pictures wants to fetch."""
    folder = tmp_path_factory.mktemp("stream")
    scenes = moving(10, (48, 32)) + moving(10, (48, 32), scene=1)
    sound = Sound(seconds=0.8, options=(("b", "256000"),))
    clip = make_clip(folder / "clip.mp4", frames=scenes, audio=[sound])
    output = folder / "stream.nrv"
    encode_file(clip, output, EncodeSettings(preset="debug", steps=2, device="cpu"))
    return output


class Flaky:
    """Passes requests on to a server, except those that are to fail, and counts bytes."""

    def __init__(self, endpoint: str) -> None:
        flaky = self
        self.failures: list[int | str | None] = []  # None is a success
        self.requests: list[str] = []
        self.num_bytes = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                flaky.requests.append(self.path)
                failure = flaky.failures.pop(0) if flaky.failures else None
                if isinstance(failure, int):
                    self.send_error(failure)
                    return
                request = urllib.request.Request(  # noqa: S310 -- our own server
                    endpoint + self.path, headers=dict(self.headers)
                )
                try:
                    with urllib.request.urlopen(request) as answer:  # noqa: S310
                        body = answer.read()
                        status, headers = answer.status, answer.headers
                except urllib.error.HTTPError as error:
                    body, status, headers = error.read(), error.code, error.headers
                    error.close()
                flaky.num_bytes += len(body)
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in {"transfer-encoding", "connection", "date"}:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body[:10] if failure == "cut short" else body)
                self.close_connection = failure == "cut short"

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def flaky(swift: SwiftServer) -> Iterator[Flaky]:
    server = Flaky(swift.endpoint)
    yield server
    server.stop()


@pytest.fixture
def address(
    swift: SwiftServer, bucket: str, stream: Path, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A prefix with two streams and a text, through the flaky server."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", swift.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", swift.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", swift.region)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", swift.endpoint)
    prefix = f"loading/{next(prefixes)}"
    client = boto3.client("s3")
    for name in ("a.nrv", "b.nrv"):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=stream.read_bytes())
    client.put_object(Bucket=bucket, Key=f"{prefix}/note.txt", Body=b"text")
    client.close()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", flaky.endpoint)
    impatient = S3Client(attempts=3, first_wait_seconds=0)
    monkeypatch.setattr(s3, "client", lambda: impatient)
    yield f"s3://{bucket}/{prefix}"
    impatient.close()


def test_clips_of_a_bucket_are_those_of_the_files(address: str, stream: Path) -> None:
    there = NrvDataset(f"{address}/", frames=4, clips=3, labels=lambda name: name[-5])
    here = NrvDataset([stream, stream], frames=4, clips=3)
    assert there.names == (f"{address}/a.nrv", f"{address}/b.nrv")
    assert there.classes == ("a", "b")
    for number in range(len(there)):
        one, other = there[number], here[number]
        assert one.first_frame == other.first_frame
        assert (one.frames == other.frames).all()


def test_only_front_and_the_segments_needed_are_fetched(
    address: str, stream: Path, flaky: Flaky
) -> None:
    dataset = NrvDataset(address, frames=2, clips=[(0, 12)])
    flaky.num_bytes = 0
    dataset[0]
    with FileSource(stream) as source:
        opened = NrvStream(source)
        segment = opened.reader.index.segments[1]
        assert opened.reader.index.audio is not None
    assert flaky.num_bytes <= s3.HEAD_BYTES + segment.length
    assert flaky.num_bytes < stream.stat().st_size / 2


def test_what_the_cache_keeps_is_not_fetched_again(
    address: str, flaky: Flaky, tmp_path: Path
) -> None:
    first = NrvDataset(address, frames=2, clips=2, cache=tmp_path / "cache")
    frames = [sample.frames for sample in first.__getitems__(range(4))]
    flaky.requests.clear()
    again = NrvDataset(address, frames=2, clips=2, cache=tmp_path / "cache")
    for one, other in zip(frames, again.__getitems__(range(4)), strict=True):
        assert (one == other.frames).all()
    assert [path for path in flaky.requests if path.endswith(".nrv")] == []


def test_failures_that_pass_are_not_noticed(address: str, flaky: Flaky) -> None:
    dataset = NrvDataset(address, frames=2)
    flaky.failures = [503, "cut short", None, 500]
    assert dataset[0].stream == 0
    flaky.failures = [429, 503]
    assert len(find_streams(address)) == 2


def test_failures_that_stay_are_raised_with_the_key(address: str, flaky: Flaky) -> None:
    dataset = NrvDataset(address, frames=2, clips=4, damaged="skip", max_open=1)
    flaky.failures = [*[None] * 8, *[503] * 100]
    batches = iter(NrvLoader(dataset, batch_size=2, shuffle=False))
    next(batches)
    with pytest.raises(UnreadableInput, match=rf"{address}/[ab]\.nrv cannot be read after 3"):
        list(batches)


def test_a_missing_object_is_named_at_once(address: str, flaky: Flaky) -> None:
    dataset = NrvDataset([f"{address}/missing.nrv"])
    flaky.requests.clear()
    with pytest.raises(UnreadableInput, match=r"missing\.nrv cannot be read after 1 attempts"):
        dataset[0]
    assert len(flaky.requests) == 1


def test_an_empty_prefix_is_an_error(address: str) -> None:
    with pytest.raises(InvalidSettings, match="holds no stream"):
        NrvDataset(f"{address}/nothing/")


@pytest.mark.usefixtures("address")
def test_a_bucket_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UnreadableInput, match="s3://nobodys-bucket/"):
        NrvDataset("s3://nobodys-bucket/")


def test_wrong_credentials_are_an_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    stranger = S3Client(attempts=3, first_wait_seconds=0)
    monkeypatch.setattr(s3, "client", lambda: stranger)
    with pytest.raises(UnreadableInput, match="after 1 attempts"):
        NrvDataset(address)
    stranger.close()


def test_a_listing_of_several_pages(address: str, bucket: str) -> None:
    client = S3Client(attempts=1, page_objects=1)
    prefix = address.removeprefix(f"s3://{bucket}/")
    keys = [each.key for each in client.objects(bucket, prefix)]
    assert keys == [f"{prefix}/{name}" for name in ("a.nrv", "b.nrv", "note.txt")]
    client.close()


def test_an_object_that_is_replaced_is_noticed(address: str, tmp_path: Path) -> None:
    place = find_streams(address)[0]
    stale = S3Source(
        StreamPlace(name=place.name, num_bytes=place.num_bytes, version="another"),
        RangeCache(tmp_path),
    )
    with pytest.raises(InvalidStream, match=r"a\.nrv was replaced"):
        stale.read(0, 10)


def test_past_the_end_is_truncated(address: str) -> None:
    source = S3Source(StreamPlace(name=f"{address}/a.nrv"))
    with pytest.raises(InvalidStream, match="truncated"):
        source.read(source.size() - 1, 2)


def test_a_plain_dataset_in_workers(address: str) -> None:
    dataset = NrvDataset(address, frames=2, clips=3)
    loader = NrvLoader(dataset, batch_size=3, workers=2, start_method="fork")
    assert sum(len(batch.label) for batch in loader) == 6
