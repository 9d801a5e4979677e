"""How much one request, one viewer and one address may ask for. Every number is a setting: LIMIT_COST=20000."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

# The mutations whose one input may hold a whole course, class or map: only they may use the large body.
BULK_MUTATIONS = frozenset({"importCourse", "enroll", "upsertOverlays", "recordCompetencies"})


class LimitSettings(BaseSettings):
    """The limits of the edge. Durations are seconds and sizes are bytes where the name says so."""

    model_config = SettingsConfigDict(env_prefix="LIMIT_", extra="ignore")

    # The body of a request, before and after it is known what it asks for.
    anonymous_body_bytes: int = Field(default=256 * 1024, ge=1024)
    body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    plain_body_bytes: int = Field(default=256 * 1024, ge=1024)

    # The document, measured once and remembered with it.
    tokens: int = Field(default=2_000, ge=1)
    comments: int = Field(default=1_000, ge=0)
    depth: int = Field(default=12, ge=1)
    aliases: int = Field(default=30, ge=0)
    root_fields: int = Field(default=20, ge=1)
    directives: int = Field(default=50, ge=0)
    mutations: int = Field(default=5, ge=1)
    overlaps: int = Field(default=10_000, ge=1)
    cached_documents: int = Field(default=1_000, ge=1)
    cached_document_bytes: int = Field(default=8 * 1024 * 1024, ge=0)

    # The operation, with its variables.
    cost: int = Field(default=10_000, ge=1)
    default_first: int = Field(default=20, ge=1)
    rows: int = Field(default=100, ge=1)
    bulk_rows: int = Field(default=10_000, ge=1)
    operation_seconds: float = Field(default=10.0, gt=0)

    # How often.
    requests_per_second: float = Field(default=50.0, gt=0)
    burst: int = Field(default=100, ge=1)
    address_requests_per_second: float = Field(default=50.0, gt=0)
    address_burst: int = Field(default=100, ge=1)

    # Streams.
    subscriptions_per_viewer: int = Field(default=200, ge=1)
    subscriptions_per_connection: int = Field(default=100, ge=1)
    sockets_per_address: int = Field(default=20, ge=1)
    waiting_events: int = Field(default=256, ge=1)
    slow_reader_seconds: float = Field(default=5.0, gt=0)
    init_seconds: float = Field(default=10.0, gt=0)
    ping_seconds: float = Field(default=20.0, gt=0)
    idle_seconds: float = Field(default=600.0, gt=0)
    heartbeat_seconds: float = Field(default=15.0, gt=0)
    identity_check_seconds: float = Field(default=2.0, gt=0)
