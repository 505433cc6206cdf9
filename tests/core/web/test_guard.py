"""Who is answered, and what every answer carries."""

import pytest
from starlette.testclient import TestClient

PAGE = "http://127.0.0.1:8420"


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost:8420", "localhost", "127.0.0.1:9000"])
def test_this_machines_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_site_that_points_its_name_here_gets_nothing(client: TestClient, host: str) -> None:
    for answer in (client.get("/", headers={"Host": host}), client.post("/parse", headers={"Host": host})):
        assert answer.status_code == 403
        assert answer.json() == {"error": "this server answers to 127.0.0.1 and localhost alone"}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1:8421", "https://127.0.0.1:8420", "http://localhost:8420"],
)
def test_other_sites_pages_cannot_post(client: TestClient, face_png: bytes, origin: str) -> None:
    answer = client.post("/parse", content=face_png, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json() == {"error": "only this server's own page may send photographs"}


def test_who_does_not_say_where_it_comes_from_cannot_post(client: TestClient, face_png: bytes) -> None:
    del client.headers["Origin"]
    assert client.post("/parse", content=face_png).status_code == 403
    assert client.get("/").status_code == 200


def test_a_page_of_another_origin_may_not_ask_beforehand(client: TestClient) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/parse", headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_far_end_of_a_tunnel_may_post(client: TestClient, face_png: bytes) -> None:
    headers = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}
    assert client.post("/parse", content=face_png, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/parse", "/missing"])
def test_every_answer_is_kept_nowhere_and_told_to_nobody(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
