"""How much one request, one viewer and one address may ask for. Every number is a setting: LIMIT_COST=20000."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

# The mutations whose one input may hold a whole course or class: only they may use the large body.
BULK_MUTATIONS = frozenset({"importCourse", "enroll"})


class LimitSettings(BaseSettings):
    """The limits of the edge. Durations are seconds and sizes are bytes where the name says so."""

    model_config = SettingsConfigDict(env_prefix="LIMIT_", extra="ignore")

    # The body of a request, before and after it is known what it asks for.
    anonymous_body_bytes: int = Field(default=256 * 1024, ge=1024, description="bytes in a body without a token")
    body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, description="bytes in a body with a token")
    plain_body_bytes: int = Field(
        default=256 * 1024, ge=1024, description="bytes in a body of an operation that is no bulk mutation"
    )
    body_seconds: float = Field(default=30.0, gt=0, description="seconds until the whole body has come")

    # The document, measured once and remembered with it.
    tokens: int = Field(default=2_000, ge=1, description="lexical tokens in a document")
    comments: int = Field(default=1_000, ge=0, description="comments in a document")
    depth: int = Field(default=12, ge=1, description="levels of fields in an operation")
    aliases: int = Field(default=30, ge=0, description="aliases in a document")
    root_fields: int = Field(default=20, ge=1, description="root fields in an operation")
    directives: int = Field(default=50, ge=0, description="directives in a document")
    mutations: int = Field(default=5, ge=1, description="mutations in an operation")
    overlaps: int = Field(default=10_000, ge=1, description="pairs of equal fields in a document")
    cached_documents: int = Field(default=1_000, ge=1, description="documents that are remembered")
    cached_document_bytes: int = Field(
        default=8 * 1024 * 1024, ge=0, description="characters of remembered documents in all"
    )

    # The operation, with its variables.
    cost: int = Field(default=10_000, ge=1, description="fields times the `first` above them, in an operation")
    default_first: int = Field(default=20, ge=1, description="rows of a page that asks for no number")
    rows: int = Field(default=100, ge=1, description="rows of a page, and items of a list in a query")
    bulk_rows: int = Field(default=10_000, ge=1, description="items of a list in a mutation")
    operation_seconds: float = Field(default=10.0, gt=0, description="seconds for an operation")

    # How often.
    requests_per_second: float = Field(default=50.0, gt=0, description="requests a second of one viewer")
    burst: int = Field(default=100, ge=1, description="requests at once of one viewer")
    address_requests_per_second: float = Field(default=50.0, gt=0, description="requests a second from one address")
    address_burst: int = Field(default=100, ge=1, description="requests at once from one address")

    # Streams.
    subscriptions_per_viewer: int = Field(
        default=200, ge=1, description="open subscriptions of one viewer on one server"
    )
    subscriptions_per_connection: int = Field(default=100, ge=1, description="operations at once on one socket")
    sockets_per_address: int = Field(
        default=20, ge=1, description="open sockets and streams from one address on one server"
    )
    waiting_events: int = Field(
        default=256, ge=1, description="events of a stream, or answers on a socket, that wait for a slow reader"
    )
    waiting_bytes: int = Field(
        default=2 * 1024 * 1024,
        ge=1024,
        description="bytes of events that wait on a socket or a streamed answer; of a socket's answers as many again",
    )
    slow_reader_seconds: float = Field(
        default=5.0, gt=0, description="seconds that what is full waits for a reader who does not read"
    )
    init_seconds: float = Field(default=10.0, gt=0, description="seconds until connection_init")
    ping_seconds: float = Field(default=20.0, gt=0, description="seconds between pings of a socket")
    idle_seconds: float = Field(
        default=600.0, gt=0, description="seconds that a socket may be open without an operation"
    )
    heartbeat_seconds: float = Field(default=15.0, gt=0, description="seconds between heartbeats of a quiet stream")
    identity_check_seconds: float = Field(
        default=2.0, gt=0, description="seconds between two looks at the tokens of streams"
    )
