"""Predictor files that are installed, by name; reads headers only, no network is built."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hypernet.decoders.decode_file import DecodeFile, find_decode_file, model_folders
from hypernet.errors import InvalidSettings, UnreadableInput

SUFFIX = ".predictor.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictorFile:
    """A predictor file and what it belongs to.

    Attributes:
        name: of the model, without the suffix.
        path: of the file.
        sha256: of the file's bytes, hexadecimal.
        decode_sha256: of the decode file that its streams name.
    """

    name: str
    path: Path
    sha256: str
    decode_sha256: str

    def decode_file(self) -> DecodeFile:
        """The decode file.

        Raises:
            MissingDecodeFile: it is not installed beside the predictor.
        """
        return find_decode_file(self.decode_sha256)


def installed_predictors() -> tuple[PredictorFile, ...]:
    """All predictor files that are installed, by name."""
    paths = [path for folder in model_folders() for path in folder.glob(f"*{SUFFIX}")]
    return tuple(_read(path) for path in sorted(paths, key=lambda path: path.name))


def find_predictor(name: str) -> PredictorFile:
    """The installed predictor file of a model.

    Raises:
        InvalidSettings: there is none.
        UnreadableInput: it is damaged.
    """
    for folder in model_folders():
        path = folder / f"{name}{SUFFIX}"
        if path.exists():
            return _read(path)
    raise InvalidSettings(f"predictor {name} is not installed: choose a preset that fits instead")


@functools.lru_cache(maxsize=16)
def _read(path: Path) -> PredictorFile:
    try:
        with safe_open(path, framework="numpy") as file:
            header: dict[str, str] = file.metadata() or {}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, SafetensorError) as error:
        raise UnreadableInput(f"cannot read predictor file {path}: {error}") from error
    return PredictorFile(
        name=path.name.removesuffix(SUFFIX),
        path=path,
        sha256=digest,
        decode_sha256=header.get("decode_file", ""),
    )
