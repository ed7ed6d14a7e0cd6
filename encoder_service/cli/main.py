"""The ``nrv`` command. Commands import what they need when they run, so that help is instant."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import typer

from encoder_service.cli import admin, batch, bench, local, process, remote, training
from encoder_service.cli.extras import extra_of, missing
from encoder_service.errors import (
    InvalidConfiguration,
    InvalidRequest,
    RemoteEncodingFailed,
    ServiceError,
)
from hypernet.errors import (
    Cancelled,
    HypernetError,
    InvalidSettings,
    MissingDecodeFile,
    OutputNotWritable,
    UnreadableInput,
)

EXIT_STATUS: tuple[tuple[type[HypernetError | ServiceError], int], ...] = (
    (InvalidSettings, 2),
    (UnreadableInput, 3),
    (OutputNotWritable, 5),
    (Cancelled, 130),
    (HypernetError, 1),
    (InvalidConfiguration, 2),
    (InvalidRequest, 2),
    (RemoteEncodingFailed, 6),
    (ServiceError, 4),
)

app = typer.Typer(
    name="nrv",
    help="Neural video codec: videos stored as the weights of tiny networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
local.register(app)
admin.register(app)
remote.register(app)
batch.register(app)
training.register(app)
app.add_typer(bench.app, name="bench")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``nrv`` and leave with its documented exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    process.leave_garbage()
    try:
        app(args=arguments)
    except (HypernetError, ServiceError) as error:
        _refuse(error)
    except ModuleNotFoundError as error:
        extra = extra_of(error.name)
        if extra is None:
            raise
        _refuse(missing(extra, str(error.name)))
    sys.exit(0)


def _refuse(error: HypernetError | ServiceError) -> NoReturn:
    sys.stderr.write(f"nrv: {error}\n{_advice(error)}")
    sys.exit(exit_status(error))


def _advice(error: HypernetError | ServiceError) -> str:
    """How a service helps with what the codec cannot know of."""
    digest = re.search(r"\b[0-9a-f]{64}\b", str(error))
    if not isinstance(error, MissingDecodeFile) or digest is None:
        return ""
    return (
        "nrv: the service that made the stream has it: curl -fOJ -H "
        f'"Authorization: Bearer $NRV_API_KEY" "$NRV_URL/v1/decode-files/{digest[0]}"\n'
    )


def exit_status(error: HypernetError | ServiceError) -> int:
    """The documented exit status of an error."""
    return next(status for kind, status in EXIT_STATUS if isinstance(error, kind))


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind like any error, so that every temporary file is removed."""
    raise Cancelled("interrupted; nothing was written")


if __name__ == "__main__":
    main()
