"""The page on which a person lets a command act in their name."""

from __future__ import annotations

import html
import re
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from fedgate.errors import FedgateError, InvalidMessage
from fedgate_gateway.front.device import PAGE, EmbeddedLogin, Pending
from fedgate_gateway.front.office import Office

router = APIRouter(include_in_schema=False)
_CODE = re.compile(r"[A-Z]{4}-[A-Z]{4}")
_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS, _LARGEST = 8, 8 * 1024
_HEADERS = {
    # Nothing but this page itself: no scripts, no frames, and its form leads back to us alone.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:3em auto;padding:0 1em}"
    "code{font-size:1.4em}input[type=password]{width:100%;font:inherit;padding:.4em}"
    "button{font:inherit;padding:.4em 1.2em;margin:1em 1em 0 0}.bad{color:#a00}"
)


def _login(request: Request) -> EmbeddedLogin:
    office = request.app.state.office
    assert isinstance(office, Office)
    return office.login


Login = Annotated[EmbeddedLogin, Depends(_login)]


@router.get(PAGE)
async def show(login: Login, code: Annotated[str, Query(max_length=32)] = "") -> HTMLResponse:
    """Who asks for what, and a form to answer."""
    try:
        return _page(_form(login.waiting(_checked(code))))
    except FedgateError as error:
        return _failure(error)


@router.post(PAGE)
async def answer(request: Request, login: Login) -> HTMLResponse:
    """The answer counts with a token only; nothing is remembered, so nothing can be forged."""
    try:
        fields = await _fields(request)
        code = _checked(fields.get("code", ""))
        if fields.get("answer") != "approve":
            login.deny(code)
            return _page(
                "<h1>Refused</h1><p>The command gets nothing. You can close this page.</p>"
            )
    except FedgateError as error:
        return _failure(error)
    try:
        who = await run_in_threadpool(login.approve, code, fields.get("token", "").strip())
    except FedgateError as error:
        return _again(login, code, error)
    name = html.escape(who.name)
    return _page(
        f"<h1>Approved</h1><p>The command acts as <b>{name}</b>. You can close this page.</p>"
    )


async def _fields(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise InvalidMessage("the form is too large")
    if kind != _FORM:
        raise InvalidMessage("this is not the form of this page")
    try:
        parsed = parse_qs(body.decode(), strict_parsing=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise InvalidMessage("the form cannot be read") from error
    return {name: values[0] for name, values in parsed.items()}


def _checked(code: str) -> str:
    code = code.strip().upper()
    if not _CODE.fullmatch(code):
        raise InvalidMessage("this is not a code", remedy="run `flwr login`, and follow its link")
    return code


def _again(login: EmbeddedLogin, code: str, error: FedgateError) -> HTMLResponse:
    try:
        return _page(_form(login.waiting(code), problem=str(error)), error.status)
    except FedgateError as over:  # that was one wrong token too many
        return _failure(over)


def _form(pending: Pending, *, problem: str = "") -> str:
    code, address = html.escape(pending.user_code), html.escape(pending.address or "unknown")
    bad = f'<p class="bad">{html.escape(problem)}</p>' if problem else ""
    return f"""<h1>Let a command act in your name?</h1>
<p>Somebody at <b>{address}</b> ran <b>flwr login</b> with the code</p><p><code>{code}</code></p>
<p>Approve only if that was you, a moment ago. For 30 days that command can submit, see and stop
jobs in the projects of your token; it cannot administer anything.</p>{bad}
<form method="post" action="{PAGE}" autocomplete="off">
<input type="hidden" name="code" value="{code}">
<label>Your token of this gateway<br><input type="password" name="token" autofocus></label><br>
<button name="answer" value="approve">Approve</button>
<button name="answer" value="deny">Refuse</button>
</form>"""


def _failure(error: FedgateError) -> HTMLResponse:
    return _page(
        f'<h1>No login here</h1><p class="bad">{html.escape(str(error))}</p>', error.status
    )


def _page(body: str, status: int = 200) -> HTMLResponse:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Fedgate login</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    return HTMLResponse(text, status, headers=_HEADERS)
