"""Plain HTTP for programs that speak no GraphQL: a job's facts as JSON."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def job(request: Request) -> Response:
    """A job by its uuid."""
    return JSONResponse({"errors": []}, status_code=404)
