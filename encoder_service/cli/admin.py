"""Commands for whoever runs the service: serve, api, worker, migrate, gc, keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from encoder_service import programs
from encoder_service.cli.extras import require_extra
from encoder_service.cli.options import AsJson

if TYPE_CHECKING:
    from encoder_service.database import Database
    from encoder_service.storage.base import ObjectStore

keys = typer.Typer(help="API keys: who may use the service.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (serve, api, worker, migrate, gc):
        app.command()(command)
    app.add_typer(keys, name="keys")


def serve(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for everything that lasts.")
    ] = Path("nrv-data"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C; nothing else need be installed."""
    from functools import partial

    from encoder_service.cli.report import print_announcement
    from encoder_service.serve import serve as run_service

    run_service(data, port, announce=partial(print_announcement, as_json=as_json))


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    processes: Annotated[int, typer.Option(min=1, max=64, help="That share the port.")] = 1,
) -> None:
    """Serve the API alone, on the database, store and broker that the NRV_* settings name."""
    from encoder_service.asgi import run

    run(host=host, port=port, processes=processes)


def worker(
    queues: Annotated[
        str, typer.Option(metavar="A,B", help="cpu: plan and assemble; gpu: encode segments.")
    ] = programs.QUEUES,
    name: Annotated[
        str, typer.Option(help="Unique per worker; %h is the host.")
    ] = programs.WORKER_NAME,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Recover the work of lost workers instead; run one at least."),
    ] = False,
) -> None:
    """Work off the queue that the NRV_* settings name."""
    require_extra("worker")
    command = programs.sweeper() if sweep else programs.worker(queues=queues, name=name)
    os.execv(command[0], command)  # noqa: S606 - signals and exit status are then the worker's own


def migrate() -> None:
    """Bring the database's schema up to date, make the bucket, publish decode files."""
    from encoder_service.decode_files import publish, shipped
    from encoder_service.schema import upgrade

    with _database() as database:
        upgrade(database)
    store = _store()
    store.prepare()
    for name in publish(store, shipped()):
        typer.echo(f"published {name}", err=True)
    typer.echo("the schema is up to date", err=True)


def gc(
    remove: Annotated[
        bool, typer.Option("--delete/--dry-run", help="Remove, or only say what would be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what nobody needs any more, as the NRV_RETENTION_* settings say."""
    from dataclasses import asdict

    from encoder_service.cli.report import print_fields
    from encoder_service.retention import Collector
    from encoder_service.settings import Settings

    settings = Settings.from_environment(os.environ).retention
    count = size_bytes = 0
    found = []
    with _migrated_database() as database:
        for garbage in Collector(database, _store(), settings, dry_run=not remove).run():
            count, size_bytes = count + 1, size_bytes + garbage.size_bytes
            if as_json:
                found.append(asdict(garbage))
            else:
                typer.echo(f"{garbage.kind} {garbage.name} ({garbage.reason})")
    if as_json:
        print_fields({"removed": remove, "size_bytes": size_bytes, "garbage": found}, as_json=True)
        return
    done = "removed" if remove else "would be removed; nrv gc --delete removes them"
    typer.echo(f"{count} things, {size_bytes:,} bytes: {done}", err=True)


@keys.command("create")
def create_api_key(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")], as_json: AsJson = False
) -> None:
    """Make a key; it is shown this once."""
    from encoder_service.api_keys import create_key
    from encoder_service.cli.report import print_fields

    with _migrated_database() as database:
        key, secret = create_key(database, name)
    print_fields({"id": key.id, "name": key.name, "key": secret}, as_json=as_json)
    if not as_json:
        typer.echo("keep the key now: it cannot be shown again", err=True)


@keys.command("list")
def list_api_keys(as_json: AsJson = False) -> None:
    """Every key, revoked ones included; what opens the service is not among it."""
    from encoder_service.api_keys import list_keys
    from encoder_service.cli.report import print_keys

    with _migrated_database() as database:
        print_keys(list_keys(database), as_json=as_json)


@keys.command("revoke")
def revoke_api_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="key_...")]) -> None:
    """Refuse a key from now on; its encodings stay."""
    from encoder_service.api_keys import revoke_key

    with _migrated_database() as database:
        revoke_key(database, key_id)


def _store() -> ObjectStore:
    from encoder_service.settings import Settings
    from encoder_service.storage.locations import Locations

    settings = Settings.from_environment(os.environ)
    return Locations(settings.storage, base_url=settings.api.url).own


@contextmanager
def _database() -> Iterator[Database]:
    from encoder_service.database import Database
    from encoder_service.settings import Settings

    database = Database(Settings.from_environment(os.environ).database)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _migrated_database() -> Iterator[Database]:
    from encoder_service.errors import DatabaseUnavailable
    from encoder_service.schema import is_current

    with _database() as database:
        if not is_current(database):
            raise DatabaseUnavailable("the schema is not the newest; run: nrv migrate")
        yield database
