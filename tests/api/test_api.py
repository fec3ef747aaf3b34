"""The API as a person's client meets it: what works, and what bad input gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swangpu.api.routes import BASE, ROUTES

GOOD: dict[str, Any] = {"memory_bytes": 4e9}


async def test_see_get_extend_and_give_back(api: Any) -> None:
    status, offers, _ = await api("GET", "/offers", params={"memory_bytes": "8e9"})
    assert status == 200
    first = offers["items"][0]
    assert first["free"] > 0
    assert first["memory_bytes"] >= 8e9
    assert first["simulated"] is True
    status, session, headers = await api("POST", "/sessions", {**GOOD, "flavor": None})
    assert status == 201
    assert headers["Location"].endswith(session["id"])
    assert session["state"] == "ready"
    assert session["ends"]["cause"] == "claim_window"
    status, session, _ = await api("POST", f"/sessions/{session['id']}/claim")
    assert status == 200
    assert session["state"] == "active"
    assert session["environment"]["CUDA_VISIBLE_DEVICES"]
    assert session["ends"]["cause"] == "lease"
    before = session["lease_until"]
    status, session, _ = await api("POST", f"/sessions/{session['id']}/extend", {"duration_s": 3600})
    assert session["lease_until"] == before + 3600
    status, released, _ = await api("DELETE", f"/sessions/{session['id']}")
    assert status == 200
    assert released["state"] == "ending"
    assert released["actions"] == ["undo"]
    status, again, _ = await api("POST", f"/sessions/{session['id']}/undo")
    assert again["state"] == "active"


async def test_a_double_click_makes_one_session(api: Any) -> None:
    key = {"Idempotency-Key": "one-click"}
    first = await api("POST", "/sessions", GOOD, headers=key)
    second = await api("POST", "/sessions", GOOD, headers=key)
    assert first[0] == second[0] == 201
    assert first[1]["id"] == second[1]["id"]
    status, problem, _ = await api("POST", "/sessions", {"memory_bytes": 5e9}, headers=key)
    assert (status, problem["code"]) == (409, "idempotency_key_reused")
    status, problem, _ = await api("POST", "/sessions", GOOD, headers={"Idempotency-Key": "x" * 300})
    assert (status, problem["code"]) == (400, "bad_idempotency_key")


async def test_beyond_capacity_is_queued_with_its_place(api: Any) -> None:
    whole = {"flavor": "a100-40gb"}
    _, first, _ = await api("POST", "/sessions", whole)
    _, second, _ = await api("POST", "/sessions", whole)
    _, third, _ = await api("POST", "/sessions", whole)
    assert (first["state"], second["state"]) == ("ready", "queued")
    assert (second["queue_position"], third["queue_position"], third["queue_length"]) == (1, 2, 2)
    assert second["reason"]["text"]
    assert second["estimate"]["basis"] in ("lease_ends", "history")
    status, why, _ = await api("GET", f"/sessions/{third['id']}/explain")
    assert status == 200
    assert why["queue_position"] == 2
    assert len(why["ahead"]) == 1
    await api("DELETE", f"/sessions/{first['id']}")
    _, second, _ = await api("GET", f"/sessions/{second['id']}")
    assert second["state"] in ("queued", "ready")


BAD_BODIES = [
    ({"flavor": "h9000"}, 422, "unknown_flavor"),
    ({"memory_bytes": 4e9, "count": 0}, 400, "bad_field"),
    ({"memory_bytes": 4e9, "count": 1000}, 400, "bad_field"),
    ({"flavor": "a100-40gb/1g.5gb", "count": 2}, 422, "too_many_per_kernel"),
    ({"memory_bytes": 4e9, "duration_s": -1}, 400, "bad_field"),
    ({"memory_bytes": 4e9, "duration_s": 1e12}, 400, "bad_field"),
    ({"memory_bytes": 4e9, "duration_s": 2e6}, 422, "lease_too_long"),
    ({"memory_bytes": 4e9, "flavor": "t4"}, 400, "flavor_or_memory"),
    ({}, 400, "flavor_or_memory"),
    ({"memory_bytes": 4e9, "flavour": "t4"}, 400, "unknown_field"),
    ({"memory_bytes": "4"}, 400, "bad_field"),
    ({"memory_bytes": True}, 400, "bad_field"),
    ({"memory_bytes": 4e9, "pools": "local"}, 400, "bad_field"),
    ({"memory_bytes": 4e9, "pools": ["moon"]}, 422, "unknown_pool"),
    ({"memory_bytes": 9e14}, 422, "more_memory_than_there_is"),
    ({"flavor": "a100-40gb", "kind": "job", "count": 500}, 422, "more_than_there_is"),
    ({"memory_bytes": 4e9, "kind": "cluster"}, 422, "kind_not_hosted"),
    ({"memory_bytes": 4e9, "attach": {}}, 400, "path_or_kernel"),
    ({"memory_bytes": 4e9, "attach": {"path": "nowhere.ipynb"}}, 404, "no_such_kernel"),
    ({"memory_bytes": 4e9, "attach": {"kernel_id": "nobody"}}, 404, "no_such_kernel"),
    ([], 400, "bad_field"),
    ("text", 400, "bad_field"),
    (None, 400, "flavor_or_memory"),
]


async def test_bad_requests_are_told_by_name_and_change_nothing(api: Any) -> None:
    for body, status, code in BAD_BODIES:
        found, problem, headers = await api("POST", "/sessions", body)
        assert (found, problem.get("code")) == (status, code), (body, problem)
        assert headers["Content-Type"] == "application/problem+json"
        assert problem["detail"]
        assert "Traceback" not in json.dumps(problem)
    _, unknown, _ = await api("POST", "/sessions", {"memory_bytes": 4e9, "attach": {"path": "a", "nb": 1}})
    assert unknown["params"]["field"] == "attach.nb"
    _, sessions, _ = await api("GET", "/sessions")
    assert sessions["items"] == []


@pytest.mark.parametrize(
    "raw", [b"{", b"\xff\xfe", b'{"memory_bytes": NaN}', b"[" * 10_000, b'{"memory_bytes": 1e999}']
)
async def test_broken_json_is_a_400(api: Any, raw: bytes) -> None:
    status, problem, _ = await api("POST", "/sessions", raw=raw)
    assert status == 400
    assert problem["code"] in ("not_json", "bad_field")


async def test_ten_megabytes_are_refused(api: Any) -> None:
    status, problem, _ = await api("POST", "/sessions", raw=b'{"purpose": "' + b"x" * 10_000_000 + b'"}')
    assert (status, problem["code"]) == (413, "too_large")


async def test_other_content_types_are_refused(api: Any) -> None:
    status, problem, _ = await api("POST", "/sessions", GOOD, headers={"Content-Type": "text/xml"})
    assert (status, problem["code"]) == (415, "not_json")


@pytest.mark.parametrize("session_id", ["nobody", "a%2Fb", "%22quoted%22", "..%2F..", "%F0%9F%8E%89", "x" * 500, "%00"])
async def test_ids_of_others_or_of_nothing_are_not_found(api: Any, session_id: str) -> None:
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/claim"), ("POST", "/extend"), ("GET", "/explain")]:
        status, problem, _ = await api(method, f"/sessions/{session_id}{path}")
        assert (status, problem["code"]) == (404, "no_such_session")


async def test_attach_of_a_kernel_that_does_not_exist(api: Any) -> None:
    _, session, _ = await api("POST", "/sessions", GOOD)
    status, problem, _ = await api("POST", f"/sessions/{session['id']}/attach", {"kernel_id": "nobody"})
    assert (status, problem["code"]) == (404, "no_such_kernel")
    _, same, _ = await api("GET", f"/sessions/{session['id']}")
    assert same["state"] == "ready", "a failed attach has claimed the session"


async def test_wrong_addresses_and_methods(api: Any) -> None:
    status, problem, _ = await api("GET", "/nothing")
    assert (status, problem["code"]) == (404, "no_such_route")
    status, problem, headers = await api("DELETE", "/offers")
    assert (status, problem["code"], headers["Allow"]) == (405, "method_not_allowed", "GET")


@pytest.mark.parametrize(
    "query",
    [
        "memory_bytes=lots",
        "memory_bytes=nan",
        "memory_bytes=-1",
        "count=0",
        "kind=boat",
        "flavour=t4",
        "count=1&count=2",
    ],
)
async def test_bad_parameters_are_named(api: Any, query: str) -> None:
    name = query.split("=")[0]
    params = [tuple(part.split("=")) for part in query.split("&")]
    status, problem, _ = await api("GET", "/offers", params=params if len(params) > 1 else dict(params))
    assert status == 400
    assert problem["params"]["field"] == name


async def test_reports_come_as_csv_that_no_spreadsheet_runs(api: Any, jp_serverapp: Any) -> None:
    status, text, headers = await api("GET", "/usage", headers={"Accept": "text/csv"})
    assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    await api("GET", "/offers", params={"flavor": "=1+1"})
    status, text, _ = await api("GET", "/demand", params={"by": "flavor"}, headers={"Accept": "text/csv"})
    assert "'=1+1" in text


async def test_the_stream_begins_with_a_snapshot(api: Any) -> None:
    status, text, headers = await api("GET", "/stream", params={"limit": "4"})
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert names[0] == "hello"
    assert {"sessions", "pools"} <= set(names)
    hello = json.loads(text.split("data: ")[1].split("\n")[0])
    assert hello["snapshot"] is True
    continued = await api("GET", "/stream", params={"limit": "1"}, headers={"Last-Event-ID": f"{hello['epoch']}-3"})
    assert '"snapshot":false' in continued[1]
    unknown = await api("GET", "/stream", params={"limit": "1"}, headers={"Last-Event-ID": "other-3"})
    assert '"snapshot":true' in unknown[1]


async def test_nothing_of_ours_counts_as_activity(api: Any, jp_serverapp: Any) -> None:
    before = jp_serverapp.web_app.last_activity()
    for path in ("/offers", "/sessions", "/pools", "/devices"):
        await api("GET", path)
    await api("POST", "/sessions", GOOD)
    assert jp_serverapp.web_app.last_activity() == before


async def test_our_metrics_are_on_jupyters_own_page(api: Any, jp_fetch: Any) -> None:
    await api("GET", "/devices")
    page = (await jp_fetch("metrics")).body.decode()
    assert "swan_gpu_memory_total_bytes{" in page
    assert "swan_gpu_shares" in page


def every_route() -> list[tuple[str, str]]:
    return [(r.method, BASE + r.path.replace("{id}", "some-id")) for r in ROUTES]


async def test_without_a_token_nothing_answers(jp_base_url: str, http_server_client: Any, api: Any) -> None:
    for method, path in every_route():
        body = b"{}" if method == "POST" else None
        url = jp_base_url.rstrip("/") + path
        answer = await http_server_client.fetch(
            url, method=method, body=body, raise_error=False, follow_redirects=False
        )
        assert answer.code in (401, 403), (method, path)
        assert json.loads(answer.body)["code"] == "forbidden"


async def test_a_wrong_token_is_a_403(jp_base_url: str, http_server_client: Any, api: Any) -> None:
    url = jp_base_url.rstrip("/") + f"{BASE}/sessions"
    headers = {"Authorization": "token wrong"}
    answer = await http_server_client.fetch(url, headers=headers, raise_error=False, follow_redirects=False)
    assert answer.code == 403


class TestDeniedToAll:
    """An authorizer that allows nothing is obeyed by every route of the table."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: dict[str, Any]) -> dict[str, Any]:
        jp_server_config["ServerApp"]["authorizer_class"] = "api.deny.DenyAll"
        return jp_server_config

    async def test_every_route_is_403(self, api: Any) -> None:
        for method, path in every_route():
            status, problem, _ = await api(method, path.removeprefix(BASE))
            assert (status, problem["code"]) == (403, "forbidden"), (method, path)
