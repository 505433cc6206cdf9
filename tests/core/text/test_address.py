import pytest

from faceparse.core.text.address import (
    VARIABLE,
    keep_secrets,
    public_address,
    whole_address,
    withheld,
    without_secrets,
)

SECRET = "http://me:s3cr3t@host:5000/path"
PUBLIC = "http://host:5000/path"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (SECRET, PUBLIC),
        ("https://token@host", "https://host"),
        ("https://me:a@b@host/x?y=1#z", "https://host/x?y=1#z"),
        ("postgresql+psycopg2://me:s3cr3t@host:5432/runs", "postgresql+psycopg2://host:5432/runs"),
        ("postgresql://host/runs?user=me&password=s3cr3t&sslmode=require", "postgresql://host/runs?sslmode=require"),
    ],
)
def test_user_and_password_are_left_out(address: str, expected: str) -> None:
    assert public_address(address) == expected
    assert public_address(expected) == expected


@pytest.mark.parametrize(
    "address",
    [
        "",
        "sqlite:///mlflow.db",
        "sqlite:////a b/m@x.db",
        "mlruns",
        "/home/me@work/mlruns",
        "databricks://profile",
        "http://[::1]:5000",
        "http://[",
        "postgresql:///x?host=/run&a=",
        PUBLIC,
    ],
)
def test_an_address_without_them_stays_letter_by_letter(address: str) -> None:
    assert public_address(address) == address


def test_what_was_typed_is_found_again_by_its_public_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "http://somebody:else@elsewhere")
    assert whole_address(PUBLIC) == PUBLIC
    keep_secrets(PUBLIC)
    assert whole_address("http://elsewhere") == "http://somebody:else@elsewhere"  # nothing to keep: it is still there
    keep_secrets(SECRET)
    assert whole_address(PUBLIC) == SECRET
    assert whole_address("http://elsewhere") == "http://elsewhere"


def test_messages_of_libraries_lose_them() -> None:
    assert without_secrets(f"API request to {SECRET}/api failed: 'x@y'") == f"API request to {PUBLIC}/api failed: 'x@y'"


@pytest.mark.parametrize(
    "typed",
    [
        *("u:s3cr3t@h:5000", "http:/u:s3cr3t@h", "http://u:s3/cr3t@127.0.0.1:9/", "http://u:s3cr3t@[bad"),
        *("mysql://u:s3cr3t#1@h/db", "http://u:s3?cr3t@h", "https://h/?api_key=s3cr3t", "postgresql://h/db?pwd=s3cr3t"),
        "mssql+pyodbc:///?odbc_connect=PWD%3Ds3cr3t",
    ],
)
def test_an_address_that_is_none_keeps_no_secret_either(typed: str) -> None:
    shown = public_address(typed)
    assert "cr3t" not in shown
    assert public_address(shown) == shown


def test_a_file_of_sqlite_may_have_an_at_sign_in_its_path() -> None:
    assert public_address("sqlite:////tmp/a@b/mlflow.db") == "sqlite:////tmp/a@b/mlflow.db"


def test_credentials_are_for_the_server_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://u:p@mine:5000")
    assert withheld("http://other:5000") == ""  # there is nothing to give away
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p")
    assert "MLFLOW_TRACKING_PASSWORD may be for another server" in withheld("http://other:5000")
    assert withheld("http://mine:5000") == ""
    assert withheld("sqlite:///a.db") == ""


def test_an_address_that_somebody_typed_gets_the_credentials_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    assert withheld("http://mine:5000")
    keep_secrets("http://mine:5000")
    assert withheld("http://mine:5000") == ""
    assert withheld("http://other:5000")
