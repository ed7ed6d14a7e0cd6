from __future__ import annotations

import subprocess
import sys

import pytest

from hypernet import bitstream


def test_every_public_name_exists_and_no_other_is_offered() -> None:
    assert sorted(bitstream._MODULE_OF) == sorted(bitstream.__all__)
    for name in bitstream.__all__:
        exported = getattr(bitstream, name)
        assert getattr(exported, "__name__", name) == name
    with pytest.raises(AttributeError, match="no attribute"):
        bitstream.__getattr__("nothing")


def test_reading_a_header_loads_neither_torch_nor_the_entropy_coder() -> None:
    program = (
        "import sys; from hypernet.bitstream import StreamReader, StreamHeader\n"
        "print(sorted({'torch', 'av', 'numpy', 'constriction'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
