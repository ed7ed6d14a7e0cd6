"""Whatever the OpenAPI document allows, and what it forbids, is answered as it says: never 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from encoder_service.api.app import connect, create_app
from encoder_service.api_keys import create_key
from encoder_service.queue import InMemoryQueue
from encoder_service.settings import ApiSettings, DatabaseSettings, Settings, StorageSettings

Service = tuple[Any, dict[str, str]]  # its document, and the headers of its user

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def service(sqlite_url: str, tmp_path: Any) -> Iterator[Service]:
    """The document of a service that has one user."""
    context = connect(
        Settings(
            database=DatabaseSettings(url=sqlite_url),
            storage=StorageSettings(url=f"folder:{tmp_path}/objects", source_buckets=("films",)),
            api=ApiSettings(requests_per_second=0, events_seconds=0),
        ),
        InMemoryQueue(),
    )
    _, secret = create_key(context.database, "tests")
    loaded = schemathesis.openapi.from_asgi("/openapi.json", create_app(context))
    yield loaded, {"Authorization": f"Bearer {secret}"}
    context.database.close()


def refusals(service: Service, mode: GenerationMode, examples: int, *, random: bool) -> list[str]:
    """What the checks say of each operation, if they say anything."""
    document, headers = service
    strangers = set()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=not random,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(data=st.data())
    def ask(operation: Any, data: Any) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        response = case.call_and_validate(checks=CHECKS, headers=headers)
        if response.status_code == 401:
            strangers.add(operation.label)

    found = []
    for each in document.get_all_operations():
        try:
            with suppress(Unsatisfiable):  # nothing can be wrong about it
                ask(each.ok())
        except (Exception, FailureGroup) as error:  # every operation is to be heard of
            found.append(f"{each.ok().label}: {error}")
    if mode is GenerationMode.POSITIVE:  # otherwise the key is what is wrong, now and then
        assert strangers == set()
    return found


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_those_that_are_documented(service: Service, mode: GenerationMode) -> None:
    assert refusals(service, mode, 8, random=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_many_more_answers(service: Service, mode: GenerationMode) -> None:
    assert refusals(service, mode, 300, random=True) == []
