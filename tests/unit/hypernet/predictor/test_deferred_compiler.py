from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def run(*lines: str) -> None:
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)


def test_what_may_need_the_compiler_gets_it_when_it_is_called() -> None:
    run(
        "import sys, torch",
        "from hypernet.predictor.deferred_compiler import deferred_compiler",
        "with deferred_compiler():",
        "    from torch._dynamo.utils import is_compile_supported",
        "    @torch.compiler.disable",
        "    def plus_one(x): return x + 1",
        "assert 'torch._dynamo' not in sys.modules",
        "assert isinstance(is_compile_supported('cpu'), bool) and plus_one(1) == 2",
        "assert torch.compile(plus_one, backend='eager')(2) == 3",
    )


@pytest.mark.parametrize(
    "wanted",
    [
        "from torch._dynamo.eval_frame import is_dynamo_supported",
        "torch._dynamo.config.recompile_limit",
        "torch.compiler.disable(torch.nn.Identity)",
    ],
)
def test_who_wants_more_gets_the_real_one(wanted: str) -> None:
    run(
        "import sys, torch",
        "from hypernet.predictor.deferred_compiler import deferred_compiler",
        "with deferred_compiler():",
        f"    {wanted}",
        "assert torch._dynamo is sys.modules['torch._dynamo'] and torch._dynamo.OptimizedModule",
        "assert torch.compile(lambda x: x + 1, backend='eager')(2) == 3",
    )


def test_nothing_is_left_behind() -> None:
    run(
        "import sys",
        "import hypernet.predictor.timm_import",
        "assert not {'torch._dynamo', 'torch._dynamo.utils'} & set(sys.modules)",
        "import torch._dynamo",
        "assert torch._dynamo.__spec__ is not None",
        "import timm, torchvision",
        "assert timm.create_model('test_vit').eval() is not None",
    )
