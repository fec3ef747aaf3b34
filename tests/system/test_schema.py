"""Our own OpenAPI document against the running server: no 5xx, no status and no shape that is not documented."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server_process import API, ServerProcess
from swangpu.api.routes import ROUTES

WANTED_CASES = int(os.environ.get("SWANGPU_SCHEMA_CASES", "2000"))
PER_ROUTE = WANTED_CASES // len(ROUTES) + 10

load_all_checks()
cases: Counter[str] = Counter()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    one = ServerProcess(Path(tmp_path_factory.mktemp("schema")), "--SwanGpu.undo_s=0").start()
    yield one
    one.stop()


def headers(one: ServerProcess) -> dict[str, str]:
    return {"Authorization": f"token {one.token}"}


@pytest.mark.timeout(900)
def test_every_route_as_documented(running: ServerProcess) -> None:
    schema = schemathesis.openapi.from_url(f"{running.url}{API}/openapi.json", headers=headers(running))
    live = running.call("POST", "/sessions", {"memory_bytes": 4e9}).json()["id"]

    for operation in schema.get_all_operations():
        case_strategy = operation.ok().as_strategy()

        @settings(
            max_examples=PER_ROUTE,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=case_strategy)
        def try_one(case: schemathesis.Case) -> None:
            cases[f"{case.method} {case.path}"] += 1
            if case.path.endswith("/stream"):
                case.query = {**(case.query or {}), "limit": 1}
            if "id" in (case.path_parameters or {}) and sum(cases.values()) % 3 == 0:
                case.path_parameters["id"] = live
            response = case.call(headers=headers(running), timeout=30)
            assert response.status_code < 500, (case.method, case.path, response.status_code, response.text[:500])
            case.validate_response(
                response,
                checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
            )

        try_one()

    assert sum(cases.values()) >= WANTED_CASES, cases
    running.check_log()
