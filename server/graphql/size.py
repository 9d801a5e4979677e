"""The second look at the size of a request, once it is known what it asks for."""

from server.graphql.operations import Operation
from server.limits import BULK_MUTATIONS, LimitSettings
from server.refusals import too_much


def hold_to_size(operation: Operation, size_bytes: int, limits: LimitSettings) -> None:
    """Raises RequestRefused for a large request that is none of the few which may be large."""
    if size_bytes > limits.plain_body_bytes and not BULK_MUTATIONS.issuperset(operation.measure.root_fields):
        raise too_much(
            f"Only {', '.join(sorted(BULK_MUTATIONS))} may send more than {limits.plain_body_bytes} bytes.",
            limit="bodyBytes",
            allowed=limits.plain_body_bytes,
            asked=size_bytes,
            status=413,
        )
