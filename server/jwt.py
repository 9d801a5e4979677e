"""Tokens of an identity provider: signed by it, for us, and not expired. Whoever has one need not have one of ours."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.accounts.rules import Role
from db.environment import Words
from db.errors import Outage, Unauthenticated
from db.telemetry import get_logger

log = get_logger(__name__)

# An unknown key id makes us fetch the provider's keys again, but never more often than this.
REFETCH_SECONDS = 10.0


class JwtSettings(BaseSettings):
    """Whose tokens are taken. Without an issuer none are."""

    model_config = SettingsConfigDict(env_prefix="JWT_", extra="ignore")

    issuer: str | None = Field(default=None, description="the `iss` of tokens that are taken; unset: none are")
    audience: str | None = Field(default=None, description="the `aud` that names this server")
    jwks_url: str | None = Field(
        default=None,
        description="where the provider publishes its keys",
        examples=["https://provider.example.org/keys"],
    )
    key: SecretStr | None = Field(
        default=None, description="its one key, where it publishes none: PEM of a public key, or a shared secret"
    )
    algorithms: Words = Field(
        default=["RS256", "ES256", "EdDSA"],
        min_length=1,
        description="how tokens may be signed",
        examples=["RS256, several with commas between them, or a JSON list"],
    )
    roles_claim: str = Field(default="roles", description="the claim that lists roles; dots reach into objects")
    leeway_seconds: float = Field(default=0.0, ge=0, le=300, description="how long a token is taken after its `exp`")
    keys_seconds: float = Field(default=300.0, gt=0, description="how long fetched keys are used")

    @field_validator("algorithms")
    @classmethod
    def _are_known(cls, names: list[str]) -> list[str]:
        known = set(jwt.algorithms.get_default_algorithms()) - {"none"}
        if "none" in {name.lower() for name in names}:
            raise ValueError("must not contain none: such tokens are not signed")
        for name in names:
            if name not in known:
                raise ValueError(f"there is no algorithm {name}, only {', '.join(sorted(known))}")
        return names

    @field_validator("jwks_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("is no address")
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> "JwtSettings":
        if self.issuer is None:
            return self
        if self.audience is None:
            raise ValueError("with an issuer JWT_AUDIENCE must be set: without it tokens for other servers are taken")
        if (self.jwks_url is None) == (self.key is None):
            raise ValueError("with an issuer one of JWT_JWKS_URL and JWT_KEY must be set, and not both")
        return self


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, once its signature has been checked.

    `roles` is None where it names none of ours; `expires_at` is when it is no longer taken, leeway included.
    """

    subject: str
    email: str | None
    roles: frozenset[Role] | None
    expires_at: datetime


class JwtVerifier:
    """Checks tokens against one provider's keys."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._keys: dict[str | None, Any] = {}
        self._fetched_at = -float("inf")
        self._fetching = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Whether any such token is taken."""
        return self._settings.issuer is not None

    async def verify(self, token: str) -> Claims:
        """The claims of a token. Raises Unauthenticated, or Outage where the provider's keys cannot be fetched."""
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                await self._key(header.get("kid")),
                algorithms=settings.algorithms,
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired. Sign in again.") from None
        except jwt.PyJWTError:
            raise Unauthenticated("The token is not valid here.") from None
        return self._read(claims)

    def _read(self, claims: dict[str, Any]) -> Claims:
        email = claims.get("email") if claims.get("email_verified") is True else None
        try:
            expires_at = datetime.fromtimestamp(int(claims["exp"]) + self._settings.leeway_seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise Unauthenticated("The token's `exp` is no date.") from None
        return Claims(
            subject=str(claims["sub"]),
            email=email if isinstance(email, str) else None,
            roles=_roles(claims, self._settings.roles_claim),
            expires_at=expires_at,
        )

    async def _key(self, kid: str | None) -> Any:
        if self._settings.key is not None:
            return self._settings.key.get_secret_value()
        age = time.monotonic() - self._fetched_at
        if age > self._settings.keys_seconds or (kid not in self._keys and age > REFETCH_SECONDS):
            await self._fetch()
        if kid not in self._keys:
            raise Unauthenticated("The token is signed with a key that its provider does not publish.")
        return self._keys[kid]

    async def _fetch(self) -> None:
        asked_at = time.monotonic()
        async with self._fetching:
            if self._fetched_at > asked_at:
                return
            try:
                async with httpx.AsyncClient(timeout=5, follow_redirects=False) as client:
                    answer = await client.get(str(self._settings.jwks_url))
                    answer.raise_for_status()
                    keys = jwt.PyJWKSet.from_dict(answer.json()).keys
            except (httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
                log.warning("jwt.keys_not_fetched", error=type(error).__name__)
                if not self._keys:
                    raise Outage("The identity provider's keys cannot be fetched now. Try again.") from None
                # The keys we have are still the provider's, as far as anybody knows.
            else:
                self._keys = {key.key_id: key.key for key in keys}
            self._fetched_at = time.monotonic()


def _roles(claims: dict[str, Any], path: str) -> frozenset[Role] | None:
    """The roles in a claim, which is a list or words. Names that are not ours mean something elsewhere."""
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    names = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
    known = {role.value: role for role in Role}
    roles = frozenset(known[name.upper()] for name in names if isinstance(name, str) and name.upper() in known)
    return roles or None
