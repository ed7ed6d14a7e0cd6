"""Builds the optional C kernels; everything else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("hypernet", "native")

setup(
    ext_modules=[
        Extension(
            "hypernet.native._kernels",
            sources=sorted(map(str, NATIVE.glob("*.c"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
            extra_compile_args=["-std=gnu11", "-O3", "-fno-math-errno", "-Wno-psabi"],
            optional=True,  # without a C compiler the same is computed by torch, more slowly
        )
    ]
)
