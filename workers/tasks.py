"""Celery tasks: ids in, nothing out. The work is in `workers.pipeline`."""

from __future__ import annotations

from encoder_service.jobs.records import UnitKey
from encoder_service.jobs.states import UnitKind
from workers.celery_app import app
from workers.process import lister, pipeline


@app.task(name="workers.plan")
def plan(encoding_id: str) -> None:
    """Find and cut the source of an encoding."""
    pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.PLAN))


@app.task(name="workers.encode_segment")
def encode_segment(encoding_id: str, index: int) -> None:
    """Encode one segment."""
    pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.SEGMENT, index=index))


@app.task(name="workers.assemble")
def assemble(encoding_id: str) -> None:
    """Join the segments and publish the stream."""
    pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.ASSEMBLE))


@app.task(name="workers.list_batch")
def list_batch(batch_id: str) -> None:
    """Submit the objects of a batch."""
    lister().run(batch_id)
