"""A small action classifier, trained from a folder of encodings; see docs/training.md.

python docs/train_classifier.py prepare CLIPS SET    cut, shrink and encode every video of a folder
python docs/train_classifier.py train SET            train a 3D convolutional network, and test it
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypernet.codec import encode_file
from hypernet.evaluation.codecs import read_rgb
from hypernet.evaluation.encoders import LOSSLESS_RGB, write_video
from hypernet.evaluation.load_source import fitted
from hypernet.loader import NrvDataset, NrvLoader
from hypernet.plan import EncodeSettings

SIZE = (192, 108)  # width and height of what is encoded
TRAINING_FRAMES, TEST_FRAMES = 48, 16
CLIP_FRAMES, CLIPS_PER_STREAM = 8, 16
VIDEOS = {".mp4", ".mkv", ".mov", ".webm"}

log = logging.getLogger("train_classifier")


def prepare(clips: Path, folder: Path, preset: str) -> None:
    """Encode the first frames of every video: 48 into ``training/``, the next 16 into ``test/``."""
    for path in sorted(path for path in clips.iterdir() if path.suffix in VIDEOS):
        frames = (fitted(frame, *SIZE) for frame in read_rgb(path))
        for part, count in (("training", TRAINING_FRAMES), ("test", TEST_FRAMES)):
            output = folder / part / f"{path.stem}.nrv"
            output.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory() as scratch:
                video = Path(scratch, "cut.mkv")
                write_video(islice(frames, count), video, Fraction(25), LOSSLESS_RGB)
                result = encode_file(video, output, EncodeSettings(preset=preset, quality=50))
            log.info("%s: %d bytes, %.1f dB", output, result.stream_bytes, result.psnr_db or 100)


class ActionClassifier(nn.Module):
    """Four 3D convolutions over ``(B, T, C, H, W)`` in 0 to 1, and the mean of what they find."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = (3, 16, 32, 64, 64)
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(channels)):
            stride = (1 if number < 2 else 2, 2, 2)
            layers += [nn.Conv3d(before, after, 3, stride, padding=1, bias=False)]
            layers += [nn.BatchNorm3d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1], num_classes)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Scores of every class."""
        found: Tensor = self.features(frames_BTCHW.transpose(1, 2) - 0.5)
        scores: Tensor = self.head(found.mean(dim=(2, 3, 4)))
        return scores


def train(folder: Path, *, epochs: int, workers: int, device: str, seed: int) -> float:
    """Train on ``training/``, test on ``test/``; returns the share of test clips that are right."""
    torch.manual_seed(seed)
    dataset = NrvDataset(
        folder / "training",
        frames=CLIP_FRAMES,
        clips=CLIPS_PER_STREAM,
        labels=lambda name: Path(name).stem,
        dtype=torch.float32,
        seed=seed,
    )
    loader = NrvLoader(dataset, batch_size=16, workers=workers, device=device)
    model = ActionClassifier(len(dataset.classes)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    started = time.perf_counter()
    for epoch in range(epochs):
        losses = []
        for frames, label, *_ in loader:
            loss = F.cross_entropy(model(frames), label.to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        log.info("epoch %d: loss %.3f", epoch + 1, sum(losses) / len(losses))
    seconds = time.perf_counter() - started
    clips = epochs * len(dataset)
    log.info("%d clips in %.0f s, %.1f a second", clips, seconds, clips / seconds)
    log.info("waited for the loader %.1f %% of the time", 100 * loader.waiting.share)
    return test(model, folder, device)


@torch.inference_mode()
def test(model: nn.Module, folder: Path, device: str) -> float:
    """The share of the clips of ``test/`` that are recognised."""
    model.eval()
    dataset = NrvDataset(
        folder / "test",
        frames=CLIP_FRAMES,
        clips="all",
        labels=lambda name: Path(name).stem,
        dtype=torch.float32,
    )
    right = 0
    for frames, label, *_ in NrvLoader(dataset, batch_size=8, device=device, shuffle=False):
        right += int((model(frames).argmax(dim=1).cpu() == label).sum())
    log.info("test: %d of %d clips right", right, len(dataset))
    return right / len(dataset)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("clips", type=Path)
    preparing.add_argument("folder", type=Path)
    preparing.add_argument("--preset", default="fast")
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("--epochs", type=int, default=6)
    training.add_argument("--workers", type=int, default=2)
    training.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    training.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if given.command == "prepare":
        prepare(given.clips, given.folder, given.preset)
    else:
        train(
            given.folder,
            epochs=given.epochs,
            workers=given.workers,
            device=given.device,
            seed=given.seed,
        )


if __name__ == "__main__":  # workers are started by importing this file
    main()
