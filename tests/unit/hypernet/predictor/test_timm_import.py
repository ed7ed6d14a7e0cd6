from __future__ import annotations

import torch


def test_timm_is_usable_whatever_torchvision_is_installed() -> None:
    from hypernet.predictor import timm_import

    block = timm_import.Block(16, 2)
    assert block(torch.zeros(1, 3, 16)).shape == (1, 3, 16)
    assert sorted(timm_import.__all__) == timm_import.__all__


def test_the_operators_that_torchvision_asks_for_exist() -> None:
    import hypernet.predictor.timm_import  # noqa: F401

    assert hasattr(torch.ops.torchvision, "nms")
