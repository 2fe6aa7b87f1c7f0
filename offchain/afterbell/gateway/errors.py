"""Tell clients what was required, what was found and what to do, under a stable code and a fitting HTTP status.

Codes are RejectReason values. Must not: leak a traceback, or fail on the text of the request it reports about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from afterbell.domain.codes import RejectReason
from afterbell.domain.errors import AfterbellError, Rejected
from afterbell.gateway.schemas import ErrorBody, ErrorOut
from afterbell.ports import RelayRefused

_log = structlog.get_logger(__name__)

_STATUS: Final[Mapping[RejectReason, int]] = {
    RejectReason.MALFORMED_REQUEST: 400,
    RejectReason.BAD_SIGNATURE: 400,
    RejectReason.WRONG_CHAIN: 400,
    RejectReason.UNKNOWN_MARKET: 404,
    RejectReason.UNKNOWN_ACCOUNT: 404,
    RejectReason.UNKNOWN_ORDER: 404,
    RejectReason.UNKNOWN_BATCH: 404,
    RejectReason.UNKNOWN_KEY: 404,
    RejectReason.NOT_FOUND: 404,
    RejectReason.METHOD_NOT_ALLOWED: 405,
    RejectReason.DEAD_LANE: 409,
    RejectReason.DUPLICATE_ORDER: 409,
    RejectReason.NONCE_CONSUMED: 409,
    RejectReason.SEQ_BELOW_MINIMUM: 409,
    RejectReason.LANE_IN_USE: 409,
    RejectReason.OVERFILL: 409,
    RejectReason.FILLED_MEANWHILE: 409,
    RejectReason.DUPLICATE_CLIENT_ID: 409,
    RejectReason.RATE_LIMITED: 429,
    RejectReason.TOO_MANY_ORDERS: 429,
    RejectReason.OVERLOADED: 503,
    RejectReason.NOT_READY: 503,
}
_MAX_FOUND_CHARACTERS: Final = 200
_MAX_SNIPPET_CHARACTERS: Final = 40
ERROR_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorOut, "description": "malformed, unsigned or mis-signed"},
    404: {"model": ErrorOut, "description": "unknown market, order, account, batch or path"},
    409: {"model": ErrorOut, "description": "replayed: lane, nonce or order used already"},
    413: {"model": ErrorOut, "description": "body too large"},
    422: {"model": ErrorOut, "description": "refused by a rule of the exchange"},
    429: {"model": ErrorOut, "description": "too many requests or orders"},
    503: {"model": ErrorOut, "description": "not ready or overloaded; try again"},
}


def status_of(reason: RejectReason) -> int:
    """Return the HTTP status of a reason; what a rule of the exchange refuses is 422."""
    return _STATUS.get(reason, 422)


class ApiError(Rejected):
    """Answer a request with an error."""

    def __init__(
        self,
        reason: RejectReason,
        message: str,
        *,
        required: str = "",
        found: str = "",
        action: str = "",
        details: Mapping[str, Any] | None = None,
        status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(reason, message)
        self.required = required
        self.found = found
        self.action = action
        self.details = dict(details or {})
        self.status = status_of(reason) if status is None else status
        self.retry_after_s = retry_after_s


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII: a request may hold characters that have no UTF-8 form, and errors quote requests."""

    def render(self, content: Any) -> bytes:
        """Escape everything outside ASCII."""
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def shorten(found: object) -> str:
    """Quote what was found, at most a line of it."""
    text = found if isinstance(found, str) else repr(found)
    return text if len(text) <= _MAX_FOUND_CHARACTERS else text[:_MAX_FOUND_CHARACTERS] + "…"


def build_error_response(
    reason: RejectReason,
    status: int,
    message: str,
    *,
    required: str = "",
    found: str = "",
    action: str = "",
    details: Mapping[str, Any] | None = None,
) -> AsciiJSONResponse:
    """Return the one shape errors have."""
    body = ErrorOut(
        error=ErrorBody(
            code=reason.value,
            message=message,
            required=required,
            found=found,
            action=action,
            details=dict(details or {}),
        )
    )
    return AsciiJSONResponse(body.model_dump(), status_code=status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error as one item of a batch or a whole answer tells it."""

    status: int
    body: ErrorBody
    retry_after_s: int | None = None


def describe_refusal(error: AfterbellError) -> Refusal:
    """Return what a client is told of an error that was raised on purpose."""
    if isinstance(error, ApiError):
        body = ErrorBody(
            code=error.reason.value,
            message=error.message,
            required=error.required,
            found=error.found,
            action=error.action,
            details=error.details,
        )
        return Refusal(status=error.status, body=body, retry_after_s=error.retry_after_s)
    if isinstance(error, RelayRefused):
        body = ErrorBody(
            code=error.reason.value,
            message=error.message,
            required=error.required,
            found=shorten(error.found),
            action=error.action,
        )
        return Refusal(status=status_of(error.reason), body=body)
    if isinstance(error, Rejected):
        status = status_of(error.reason)
        is_passing = status == 503
        body = ErrorBody(
            code=error.reason.value,
            message=error.message or error.reason.value,
            action="try again in a moment" if is_passing else "",
        )
        return Refusal(status=status, body=body, retry_after_s=1 if is_passing else None)
    _log.error("request.failed", error=type(error).__name__, reason=str(error))
    body = ErrorBody(
        code=RejectReason.NOT_READY.value,
        message="a part of the venue is not available",
        found=type(error).__name__,
        action="try again in a moment; nothing more was done than what /v1/orders and /v1/accounts show",
    )
    return Refusal(status=503, body=body, retry_after_s=1)


def build_refusal(error: AfterbellError) -> AsciiJSONResponse:
    """Return the answer to an error that was raised on purpose."""
    refusal = describe_refusal(error)
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    return AsciiJSONResponse(ErrorOut(error=refusal.body).model_dump(), status_code=refusal.status, headers=headers)


def _answer_refused(_request: Request, error: Exception) -> AsciiJSONResponse:
    if not isinstance(error, AfterbellError):
        raise error
    return build_refusal(error)


def _answer_malformed(request: Request, error: Exception) -> AsciiJSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    content_type = request.headers.get("content-type", "")
    problems = [_describe_problem(problem, content_type, error.body) for problem in error.errors()[:20]]
    first = problems[0] if problems else {"field": "", "problem": "unreadable", "found": ""}
    return build_error_response(
        RejectReason.MALFORMED_REQUEST,
        400,
        f"{first['field']}: {first['problem']}" if first["field"] else first["problem"],
        required="the shape in /openapi.json; lots, ticks and times as integers, hex with 0x",
        found=first["found"],
        action="correct the named fields and send it again",
        details={"fields": problems},
    )


def _describe_problem(problem: Mapping[str, Any], content_type: str, body: object) -> dict[str, str]:
    location: Sequence[object] = problem.get("loc", ())
    kind = problem.get("type")
    if kind == "json_invalid":
        return _describe_no_json(problem, body)
    if tuple(location) == ("body",):
        if not _is_json(content_type):
            why = "the body must be JSON; send content-type: application/json"
            return {"field": "", "problem": why, "found": shorten(content_type) or "no content-type"}
        if kind == "missing":
            return {"field": "", "problem": "the body must be a JSON object; there is none", "found": ""}
        return {
            "field": "",
            "problem": shorten(f"the body must be a JSON object; {problem.get('msg', '')}"),
            "found": shorten(problem.get("input", "")),
        }
    return {
        "field": shorten(".".join(str(part) for part in location if part != "body")),
        "problem": shorten(str(problem.get("msg", ""))),
        "found": "" if problem.get("type") == "missing" else shorten(problem.get("input", "")),
    }


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _describe_no_json(problem: Mapping[str, Any], body: object) -> dict[str, str]:
    """Say where a body stops being JSON; FastAPI counts characters and keeps the body as text."""
    text = body if isinstance(body, str) else ""
    location: Sequence[object] = problem.get("loc", ())
    n_characters = next((part for part in location if isinstance(part, int)), 0)
    n_bytes = len(text[:n_characters].encode("utf-8", "surrogatepass"))
    why = problem.get("ctx", {}).get("error", "")
    return {
        "field": "",
        "problem": shorten(f"the body must be JSON; not JSON at byte {n_bytes}: {why}"),
        "found": text[n_characters : n_characters + _MAX_SNIPPET_CHARACTERS],
    }


def _answer_http(request: Request, error: Exception) -> AsciiJSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return build_error_response(
            RejectReason.NOT_FOUND,
            404,
            "no such path",
            required="a path of /openapi.json",
            found=shorten(request.url.path),
            action="see /openapi.json",
        )
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        response = build_error_response(
            RejectReason.METHOD_NOT_ALLOWED,
            405,
            "this path does not take this method",
            required=allowed or "a method of /openapi.json",
            found=shorten(f"{request.method} {request.url.path}"),
            action="see /openapi.json",
        )
        if allowed:
            response.headers["Allow"] = allowed
        return response
    return build_error_response(
        RejectReason.MALFORMED_REQUEST,
        error.status_code,
        shorten(str(error.detail)),
        found=shorten(f"{request.method} {request.url.path}"),
        action="see /openapi.json",
    )


def _answer_fault(request: Request, error: Exception) -> AsciiJSONResponse:
    _log.error("request.faulted", path=request.url.path, error=type(error).__name__, reason=str(error))
    return build_error_response(
        RejectReason.NOT_READY, 500, "a fault of the venue, not of the request", action="tell the operator"
    )


def install_error_handlers(app: FastAPI) -> None:
    """Give every kind of failure its answer."""
    app.add_exception_handler(AfterbellError, _answer_refused)
    app.add_exception_handler(RequestValidationError, _answer_malformed)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_fault)
