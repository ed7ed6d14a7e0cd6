"""What training takes of timm; its optimizers import much that encoding does without."""

from __future__ import annotations

import hypernet.predictor.timm_import  # noqa: F401 - before timm is imported

from timm.optim._optim_factory import create_optimizer_v2  # isort: skip
from timm.scheduler.cosine_lr import CosineLRScheduler  # isort: skip
from timm.utils.clip_grad import dispatch_clip_grad  # isort: skip
from timm.utils.model_ema import ModelEmaV3  # isort: skip

__all__ = ["CosineLRScheduler", "ModelEmaV3", "create_optimizer_v2", "dispatch_clip_grad"]
