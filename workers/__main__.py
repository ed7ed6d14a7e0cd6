"""``python -m workers``: one worker, as ``nrv worker`` starts it."""

from __future__ import annotations

import argparse

from workers.celery_app import app, worker_arguments


def main() -> None:
    """Work until told to stop."""
    parser = argparse.ArgumentParser(prog="nrv worker", description=__doc__)
    parser.add_argument("--queues", default="cpu,gpu")
    parser.add_argument("--name", default="nrv@%h")
    options = parser.parse_args()
    queues = tuple(options.queues.split(","))
    app.worker_main(worker_arguments(queues=queues, name=options.name))


if __name__ == "__main__":
    main()
