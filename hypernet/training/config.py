"""Training configurations: TOML files that become frozen dataclasses, unknown keys refused."""

from __future__ import annotations

import hashlib
import json
import tomllib
import types
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from hypernet.errors import InvalidSettings
from hypernet.predictor.factor_predictor import FactorModelConfig
from hypernet.predictor.weight_predictor import ModelConfig

ConfigT = TypeVar("ConfigT")
TUBELET, NERV_ENC, TECONERV = "tubelet", "nerv-enc", "teconerv"
MODELS: dict[str, type[ModelConfig] | type[FactorModelConfig]] = {
    TUBELET: ModelConfig,
    NERV_ENC: FactorModelConfig,
    TECONERV: FactorModelConfig,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where clips come from and how crops are drawn.

    Attributes:
        train: folder of training videos and stills.
        val: folder of validation videos.
        cache: folder for decoded frames.
        max_frames: leading frames kept per training video.
        crop: side of a training crop, a multiple of 64 pixels.
        pairs: pairs of clips per step and process.
    """

    train: str
    val: str
    cache: str
    max_frames: int = 96
    crop: int = 128
    pairs: int = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """Optimisation.

    Attributes:
        steps: length of the cosine schedule.
        learning_rate: peak.
        warmup_steps: linear warm-up.
        optimizer: a name that timm knows.
        clip_norm: gradients are scaled down to this norm.
        ema_decay: of the averaged weights that are evaluated and exported.
        bf16: autocast to bfloat16 where the device is fast at it.
        start_from: a checkpoint of another run whose averaged weights this one starts from.
    """

    steps: int
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    optimizer: str = "adamw"
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    bf16: bool = True
    start_from: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputConfig:
    """Where results go and how often.

    Attributes:
        folder: checkpoints, log, curves and samples.
        log_steps: steps per line of the log.
        checkpoint_steps: steps between checkpoints.
        sample_steps: steps between sample reconstructions.
    """

    folder: str
    log_steps: int = 25
    checkpoint_steps: int = 250
    sample_steps: int = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """A training run; ``method`` is one of ``MODELS`` and says which kind of model."""

    name: str
    data: DataConfig
    schedule: ScheduleConfig
    output: OutputConfig
    method: str = TUBELET
    model: ModelConfig | FactorModelConfig = field(default_factory=ModelConfig)
    seed: int = 0

    @property
    def model_name(self) -> str:
        """Of the files that the run is exported to."""
        return f"{self.method}-{self.name}"

    @property
    def fingerprint(self) -> str:
        """Hash of what must not change between a checkpoint and its continuation."""
        fixed = asdict(self)
        # The model's table says as much as the method.
        del fixed["output"], fixed["name"], fixed["method"], fixed["schedule"]["start_from"]
        for place in ("train", "val", "cache"):
            del fixed["data"][place]
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:16]


def load_config(path: Path) -> TrainingConfig:
    """Read a configuration.

    Raises:
        InvalidSettings: not readable, not TOML, or a key unknown, missing or of a wrong type.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"cannot read training configuration {path}: {error}") from error
    method = table.get("method", TUBELET)
    if method not in MODELS:
        raise InvalidSettings(f"{path}: method {method!r} is not one of {', '.join(MODELS)}")
    if isinstance(table.get("model", {}), dict):
        where = f"{path}: model"
        table["model"] = config_from_table(MODELS[method], table.get("model", {}), where)
    return config_from_table(TrainingConfig, table, str(path))


def config_from_table(kind: type[ConfigT], table: dict[str, Any], where: str) -> ConfigT:
    """Build a configuration dataclass from nested tables.

    Raises:
        InvalidSettings: naming the key and the place.
    """
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidSettings(
            f"{where}: unknown key {unknown[0]!r}; known keys are {', '.join(sorted(known))}"
        )
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise InvalidSettings(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(value):
        return value
    if isinstance(hint, types.UnionType):
        raise InvalidSettings(f"{where} must be a table")
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise InvalidSettings(f"{where} must be a table")
        return config_from_table(hint, value, where)
    if isinstance(hint, types.GenericAlias) and isinstance(value, list):
        return tuple(value)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and type(value) is not hint:
        raise InvalidSettings(f"{where} must be {hint.__name__}, not {type(value).__name__}")
    return value
