"""What the page says, and what it is allowed to do."""

import base64
import hashlib
import json
import re

from starlette.testclient import TestClient

from faceparse.core.api import FaceParser
from faceparse.core.web.page import content_security_policy, web_page
from tests.core.web.conftest import HELEN


def directives(policy: str) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in policy.split("; "))


def sha(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_lets_the_pages_own_script_run_and_nothing_else(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    allowed = directives(answer.headers["Content-Security-Policy"])
    script = answer.text.rpartition("<script>")[2].partition("</script>")[0]
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    assert "POST" in script
    assert allowed == {
        "default-src": "'none'",
        "script-src": sha(script),
        "style-src": sha(style),
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_the_page_needs_nothing_but_itself(client: TestClient) -> None:
    page = client.get("/").text
    assert not re.findall(r"https?:|@import|url\(", page)

    elements = re.findall(r"<[a-z][^>]*>", page.partition("<body>")[2].partition("<script>")[0])
    assert len(elements) > 30
    assert not [element for element in elements if re.search(r"\s(src|href|style|on\w+)=", element)]


def test_the_page_says_what_it_runs(client: TestClient) -> None:
    page = client.get("/").text
    for said in ("<b>runs/mine/best.pth</b>", "<b>11 of helen</b>", "<b>97 x 97</b>", "<b>cpu</b>", "up to 25 MB"):
        assert said in page
    assert "Nothing leaves this machine" in page
    told = json.loads(re.findall(r'id="model">(.*?)</script>', page)[0])
    assert [(c["name"], c["colour"]) for c in told["classes"]] == list(HELEN.classes.items())


def test_a_name_cannot_break_out_of_the_page(parser: FaceParser) -> None:
    name = "</script><script>alert(1)</script><b>"
    page = web_page(parser, name)
    assert "alert(1)</script>" not in page
    assert json.loads(re.findall(r'id="model">(.*?)</script>', page)[0])["name"] == name
    assert content_security_policy(page) == content_security_policy(web_page(parser, "best.pth"))
