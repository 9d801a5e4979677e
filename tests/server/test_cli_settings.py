"""Settings as people write them into an environment, what is said of wrong ones, and the page that lists them all."""

import re

import pytest
from pydantic_settings import BaseSettings

from db.environment import SetupError, WrongSettingError, load
from db.errors import Code
from server.commands.settings import DECLARED, PAGE, prefix_of, tables_renewed
from server.edge import EdgeSettings
from server.jwt import JwtSettings
from server.limits import LimitSettings


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://localhost:5173", ["http://localhost:5173"]),
        ("https://a.example.org, http://[::1]:8080 ,", ["https://a.example.org", "http://[::1]:8080"]),
        ('["https://a.example.org","app://holdfast"]', ["https://a.example.org", "app://holdfast"]),
        ("*", ["*"]),
        ("", []),
    ],
)
def test_a_list_is_written_plainly_or_with_commas_or_as_json(
    monkeypatch: pytest.MonkeyPatch, written: str, read: list[str]
) -> None:
    monkeypatch.setenv("EDGE_CORS_ORIGINS", written)
    assert load(EdgeSettings).cors_origins == read


def test_every_list_is_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_ALGORITHMS", "RS256, PS256")
    assert load(JwtSettings).algorithms == ["RS256", "PS256"]


ORIGINS = " Right would be: https://app.example.org, several with commas between them, or a JSON list ("


@pytest.mark.parametrize(
    ("settings", "environment", "said"),
    [
        *(
            (EdgeSettings, {"EDGE_CORS_ORIGINS": given}, f"{wrong} is never the Origin of a page{hint}.{ORIGINS}")
            for given, wrong, hint in (
                ('["localhost:5173"]', "localhost:5173", ", http://localhost:5173 may be"),
                ("http://localhost:5173/", "http://localhost:5173/", ", http://localhost:5173 may be"),
                ("https://a.org,https://A.org:443/x", "https://A.org:443/x", ", https://a.org may be"),
                ("app.example.org", "app.example.org", ", https://app.example.org may be"),
                ("https://*.example.org", "https://*.example.org", ""),
                ("http://a:b", "http://a:b", ""),
            )
        ),
        (EdgeSettings, {"EDGE_CORS_ORIGINS": '["http'}, "begins like a list in JSON and is none."),
        (
            EdgeSettings,
            {"EDGE_TRUSTED_DOCUMENTS": "enforce"},
            "EDGE_TRUSTED_DOCUMENTS='enforce': to enforce, EDGE_TRUSTED_DOCUMENTS_FILE must name the register",
        ),
        (JwtSettings, {"JWT_ISSUER": "x"}, "JWT_ISSUER='x': with an issuer JWT_AUDIENCE must be set: "),
        (JwtSettings, {"JWT_ALGORITHMS": "None"}, "JWT_ALGORITHMS='None': must not contain none: "),
        (JwtSettings, {"JWT_ALGORITHMS": "RS257"}, "there is no algorithm RS257, only ES256, "),
        (JwtSettings, {"JWT_JWKS_URL": "a.org/keys"}, "JWT_JWKS_URL='a.org/keys': is no address. Right would be: "),
        (
            LimitSettings,
            {"LIMIT_COST": "0"},
            "LIMIT_COST='0': should be greater than or equal to 1. Right would be: a whole number, 1 or more (",
        ),
        (LimitSettings, {"LIMIT_PING_SECONDS": "0"}, "Right would be: a number of seconds above 0 ("),
    ],
)
def test_a_wrong_setting_is_told_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, settings: type[BaseSettings], environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WrongSettingError, match=re.escape(said)) as told:
        load(settings)
    assert not str(told.value).startswith(":")
    assert len(str(told.value).splitlines()) == 1


# --- docs/settings.md -------------------------------------------------------------------------------------------------

ROOMS = {"server", "jobs", "db", "resolvers"}
NAMES = re.compile(rf"\b(?:{'|'.join(prefix_of(each) for each in DECLARED)})_[A-Z_]*[A-Z]\b")


def test_the_page_has_every_declared_setting_as_the_code_says_and_no_other() -> None:
    page = PAGE.read_text()
    assert page == tables_renewed(page), "run `python -m server settings`"
    declared = {each for each in BaseSettings.__subclasses__() if each.__module__.partition(".")[0] in ROOMS}
    assert declared == set(DECLARED)
    known = {f"{prefix_of(each)}_{name.upper()}" for each in declared for name in each.model_fields}
    assert set(NAMES.findall(page)) - set(Code) == known


def test_every_setting_is_described() -> None:
    silent = [name for each in DECLARED for name, field in each.model_fields.items() if not field.description]
    assert silent == []


def test_a_page_without_a_table_or_with_one_of_nothing_is_refused() -> None:
    page = PAGE.read_text()
    for wrong in (page.replace("<!-- settings: EDGE -->", ""), page.replace("settings: EDGE", "settings: NOTHING")):
        with pytest.raises(SetupError, match="must have one table for each of EDGE, LIMIT, "):
            tables_renewed(wrong)
