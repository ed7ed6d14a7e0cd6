"""Celery tasks: ids in, nothing out. The work is in `workers.pipeline`.

``attempt`` is for whoever looks at Flower or `celery inspect`; which attempt it is, the lease says.
"""

from __future__ import annotations

from encoder_service.jobs.records import UnitKey
from encoder_service.jobs.states import UnitKind
from workers.celery_app import app
from workers.process import lister, pipeline


@app.task(name="workers.plan")
def plan(encoding_id: str, attempt: int = 1) -> None:
    """Find and cut the source of an encoding."""
    del attempt
    pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.PLAN))


@app.task(name="workers.encode_segment")
def encode_segment(encoding_id: str, segment: int, attempt: int = 1) -> None:
    """Encode one segment."""
    del attempt
    pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.SEGMENT, index=segment))


@app.task(name="workers.assemble")
def assemble(encoding_id: str, attempt: int = 1) -> None:
    """Join the segments and publish the stream."""
    del attempt
    pipeline().run(UnitKey(encoding_id=encoding_id, kind=UnitKind.ASSEMBLE))


@app.task(name="workers.list_batch")
def list_batch(batch_id: str) -> None:
    """Submit the objects of a batch."""
    lister().run(batch_id)
