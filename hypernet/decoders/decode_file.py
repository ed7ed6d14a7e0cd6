"""The decode file: what a predicted stream needs besides itself.

One safetensors file: kernels of the decoder in float16, the learned prior in integers if it has
one, and its sizes as JSON. It is named by the hash of its bytes, which a stream quotes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from hypernet.bitstream.segment import TABLE_CODING, WeightCoding
from hypernet.decoders import hyponet, tubelet
from hypernet.decoders.base import Decoder
from hypernet.decoders.hyponet import Hyponet, HyponetConfig
from hypernet.decoders.integer_prior import IntegerPrior, PriorConfig
from hypernet.decoders.learned_coding import LearnedCoding
from hypernet.decoders.tubelet import Tubelet, TubeletConfig
from hypernet.errors import MissingDecodeFile
from hypernet.tensor_file import tensor_bytes
from hypernet.weights import ClipShape

FORMAT = "tubelet-5"
HYPONET_FORMAT = "hyponet-1"
MAX_BYTES = 1 << 20
HASH_DIGITS = 16
SUFFIX = ".decode.safetensors"
SHIPPED = Path(__file__).parents[1] / "models"
MODELS_VARIABLE = "NRV_MODELS"
"""Environment variable that names another folder of decode and predictor files."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecodeFile:
    """A loaded decode file.

    Attributes:
        config: sizes of the decoder.
        base: its shipped kernels, float32.
        learned_prior: ready to code; None where tables code the weights.
        sha256: of the file's bytes.
        path: of the file.
    """

    config: TubeletConfig | HyponetConfig
    base: dict[str, Tensor]
    learned_prior: IntegerPrior | None
    sha256: str
    path: Path

    @property
    def prior(self) -> IntegerPrior:
        """The learned prior.

        Raises:
            ValueError: the file has none.
        """
        if self.learned_prior is None:
            raise ValueError(f"{self.path} has no learned prior")
        return self.learned_prior

    @property
    def coding(self) -> WeightCoding:
        """How the weights of its streams are coded."""
        return TABLE_CODING if self.learned_prior is None else LearnedCoding(self.learned_prior)

    def decoder(self, clip: ClipShape) -> Decoder:
        """The decoder of a clip, with the shipped kernels."""
        if isinstance(self.config, HyponetConfig):
            return Hyponet(self.config, clip, self.base)
        return Tubelet(self.config, clip, self.base)


def pack_decode_file(
    config: TubeletConfig | HyponetConfig, base: dict[str, Tensor], prior: IntegerPrior | None
) -> bytes:
    """The bytes of a decode file; the hyponet has no prior.

    Raises:
        ValueError: larger than a decode file may be, or the prior could overflow its accumulators.
    """
    tensors = {f"base.{name}": value.detach().half().contiguous() for name, value in base.items()}
    header = {"format": HYPONET_FORMAT, "decoder": json.dumps(asdict(config))}
    if prior is not None:
        tensors |= {f"prior.{n}": value.contiguous() for n, value in prior.integers().items()}
        header |= {"format": FORMAT, "prior": json.dumps(asdict(prior.config))}
    data = tensor_bytes(tensors, header)
    if len(data) > MAX_BYTES:
        raise ValueError(f"a decode file of {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def decode_file_name(data: bytes) -> str:
    """The name that a decode file of these bytes is shipped under."""
    return f"{hashlib.sha256(data).hexdigest()[:HASH_DIGITS]}{SUFFIX}"


def model_folders() -> tuple[Path, ...]:
    """Where decode and predictor files are looked for: what is shipped, then ``$NRV_MODELS``."""
    more = os.environ.get(MODELS_VARIABLE)
    return (SHIPPED, Path(more)) if more else (SHIPPED,)


@functools.lru_cache(maxsize=8)
def find_decode_file(digest: str) -> DecodeFile:
    """The installed decode file with this SHA-256, in hexadecimal.

    Raises:
        MissingDecodeFile: it is not installed; the message says where it belongs.
    """
    name = f"{digest[:HASH_DIGITS]}{SUFFIX}"
    for folder in model_folders():
        if (folder / name).exists():
            found = load_decode_file(folder / name)
            if found.sha256 != digest:
                raise MissingDecodeFile(f"{folder / name} is not the decode file {digest}")
            return found
    raise MissingDecodeFile(
        f"the stream needs decode file {digest}, which is not installed: put {name} into a folder "
        f"and name the folder in {MODELS_VARIABLE}, or install the nrv version that wrote the "
        "stream"
    )


def load_decode_file(path: Path) -> DecodeFile:
    """Read and check a decode file.

    Raises:
        MissingDecodeFile: absent, damaged, renamed, or of an unknown kind.
    """
    try:
        data = path.read_bytes()
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise MissingDecodeFile(f"cannot read decode file {path}: {error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if not path.name.startswith(digest[:HASH_DIGITS]):
        raise MissingDecodeFile(f"{path} has hash {digest[:HASH_DIGITS]}: damaged, fetch it again")
    config, shapes = _sizes(header, path)
    base = {name: value.float() for name, value in _below(tensors, "base.").items()}
    if {name: tuple(value.shape) for name, value in base.items()} != shapes:
        raise MissingDecodeFile(f"{path} does not hold the kernels that its sizes name")
    prior = _prior(header, tensors) if "prior" in header else None
    return DecodeFile(config=config, base=base, learned_prior=prior, sha256=digest, path=path)


def _sizes(
    header: dict[str, str], path: Path
) -> tuple[TubeletConfig | HyponetConfig, dict[str, tuple[int, ...]]]:
    """Configuration of the decoder, and the shapes of the kernels that it ships."""
    kind = header.get("format")
    if kind == FORMAT:
        tubelet_config = TubeletConfig(**json.loads(header["decoder"]))
        return tubelet_config, tubelet.base_shapes(tubelet_config)
    if kind == HYPONET_FORMAT:
        hyponet_config = HyponetConfig(**_tuples(json.loads(header["decoder"])))
        return hyponet_config, hyponet.base_shapes(hyponet_config)
    raise MissingDecodeFile(f"{path} is of kind {kind!r}, not {FORMAT!r} or {HYPONET_FORMAT!r}")


def _prior(header: dict[str, str], tensors: dict[str, Tensor]) -> IntegerPrior:
    prior = IntegerPrior(PriorConfig(**_tuples(json.loads(header["prior"]))))
    prior.load_integers(_below(tensors, "prior."))
    prior.requires_grad_(requires_grad=False)
    prior.freeze()
    return prior


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
