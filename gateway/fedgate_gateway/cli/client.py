"""The API of a gateway from Python: TLS to its own CA alone, retries where they do no harm."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from fedgate.errors import (
    FedgateError,
    InvalidConfig,
    InvalidMessage,
    SealBroken,
    Unavailable,
    error_from_dict,
)
from fedgate.task import Scalar
from fedgate_gateway.cli.patience import Patience, Say
from fedgate_gateway.cli.profile import Profile
from fedgate_gateway.cli.sse import Event, read_events

if TYPE_CHECKING:
    from fedgate_gateway.cli.signing import SignedSubmission

_MAX_ANSWER = 128 * 1024 * 1024
_ATTEMPTS = 4
_FIRST_PAUSE = 0.2
_TRY_AGAIN = frozenset({502, 503, 504})
#: The stream's heartbeat comes every 15 seconds.
_STREAM_SECONDS = 45.0
_FINAL = frozenset({"succeeded", "denied", "failed", "cancelled", "expired"})


class Client:
    """One gateway, one token. Thread-safe. Methods return the API's JSON as it is documented.

    Every failure is a :class:`FedgateError`: the gateway's own, or :class:`Unavailable`.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        if not profile.api.startswith("https://"):
            raise InvalidConfig("the gateway's API is reached by https only", why=profile.api[:200])
        self._http = httpx.Client(
            base_url=profile.api.rstrip("/").removesuffix("/api/v1"),
            verify=trusting(profile),
            headers={"Authorization": f"Bearer {profile.read_token()}"},
            timeout=httpx.Timeout(30, connect=5),
            proxy=profile.proxy or None,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def address(self) -> str:
        """``host:port`` of the gateway."""
        url = self._http.base_url
        host = f"[{url.host}]" if ":" in url.host else url.host
        return f"{host}:{url.port or 443}"

    # -- jobs ----------------------------------------------------------------------------------

    def submit(
        self,
        archive: bytes,
        *,
        project: str = "",
        name: str = "",
        sites: Sequence[str] = (),
        datasets: Sequence[str] = (),
        min_sites: int | None = None,
        config: Mapping[str, Scalar] | None = None,
        recipient: bytes | None = None,
        task_seconds: float | None = None,
        enclave: str = "",
        site_files: bool = False,
    ) -> dict[str, Any]:
        """Sign a request for a bundle, and hand both in."""
        from fedgate_gateway.cli.signing import sign_submission  # keys, which reading needs none of

        signed = sign_submission(
            self.profile, archive, project=project, name=name, sites=sites, datasets=datasets,
            min_sites=min_sites, config=config, recipient=recipient, task_seconds=task_seconds,
            enclave=enclave, site_files=site_files,
        )  # fmt: skip
        return self.send(signed)

    def send(self, signed: SignedSubmission, *, idempotency_key: str = "") -> dict[str, Any]:
        """Hand in what was signed; trying again after a lost answer gives the same job.

        Raises :class:`SealBroken` when the gateway took something else.
        """
        fields = {"request": base64.b64encode(signed.envelope).decode()}
        if signed.recipient is not None:
            fields["recipient"] = base64.b64encode(signed.recipient).decode()
        job = self._json(
            "POST",
            "jobs",
            data=fields,
            files={"bundle": ("bundle.zip", signed.archive, "application/zip")},
            headers={"Idempotency-Key": idempotency_key or secrets.token_hex(16)},
        )
        ours = {"bundle": signed.request.bundle, "request": signed.digest}
        for what, value in ours.items():
            if job.get(what) != value:
                raise SealBroken(
                    f"{job.get('id', 'the job')!s:.80} is not the job that was submitted",
                    why=f"the gateway says its {what} is {job.get(what)!s:.80}, ours is {value}",
                    remedy="cancel it, and tell the gateway's administrator",
                )
        return job

    def whoami(self) -> dict[str, Any]:
        """The name, scopes and projects of the token."""
        return self._json("GET", "whoami")

    def job(self, job_id: str) -> dict[str, Any]:
        return self._json("GET", f"jobs/{_segment(job_id)}")

    def jobs(
        self, *, limit: int = 50, cursor: str | None = None, **filters: str | None
    ) -> dict[str, Any]:
        given = {"limit": limit, "cursor": cursor, **filters}
        return self._json("GET", "jobs", params={k: v for k, v in given.items() if v is not None})

    def availability(self, job_id: str, *, wait: float = 0.0) -> dict[str, Any]:
        """Which sites of a job are there; ``wait``: seconds for those that are linked to answer."""
        return self._json("GET", f"jobs/{_segment(job_id)}/availability", params={"wait": wait})

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._json("POST", f"jobs/{_segment(job_id)}/cancel")

    def events(self, job_id: str, after: int = 0, *, say: Say | None = None) -> Iterator[Event]:
        """What happens to a job until it ends; a broken stream goes on where it was.

        ``say`` hears when the gateway is away for a while, and when it is back.
        """
        yield from self._stream(f"jobs/{_segment(job_id)}/events", job_id, after, say)

    def follow_log(self, job_id: str, *, say: Say | None = None) -> Iterator[str]:
        for event in self._stream(f"jobs/{_segment(job_id)}/logs", job_id, 0, say):
            yield str(event.data.get("text", ""))

    def log(self, job_id: str) -> str:
        """Raises :class:`~fedgate.errors.Conflict` where the project seals logs."""
        return self._request("GET", f"jobs/{_segment(job_id)}/logs").decode("utf-8", "replace")

    def outputs(self, job_id: str) -> list[dict[str, Any]]:
        found = self._json("GET", f"jobs/{_segment(job_id)}/outputs")["outputs"]
        return list(found)

    def download(self, job_id: str, name: str) -> Iterator[bytes]:
        """The stored bytes of an output as they arrive."""
        path = f"/api/v1/jobs/{_segment(job_id)}/outputs/{_segment(name)}"
        try:
            with self._http.stream("GET", path) as response:
                _check(response)
                yield from response.iter_bytes(1 << 20)
        except httpx.TransportError as error:
            raise _unreachable(self.profile.api, error) from error

    # -- sites, access, plugins ----------------------------------------------------------------

    def sites(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "sites")["peers"])

    def enclaves(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "enclaves")["peers"])

    def revoke_peer(self, kind: str, name: str) -> None:
        self._request("POST", f"peers/{_segment(kind)}/{_segment(name)}/revoke", again=False)

    def invite(self, kind: str, name: str, *, seconds: float | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {"kind": kind, "name": name}
        if seconds is not None:
            body["seconds"] = seconds
        return self._json("POST", "enrolments", json=body, again=False)

    def tokens(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "tokens")["tokens"])

    def create_token(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        projects: Sequence[str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        body = {
            "name": name,
            "scopes": list(scopes),
            "projects": None if projects is None else list(projects),
            "seconds": seconds,
        }
        return self._json("POST", "tokens", json=body, again=False)

    def set_recipient(self, public_key: bytes) -> dict[str, Any]:
        """Have outputs sealed to this key where a command cannot name one."""
        body = {"public_key": base64.b64encode(public_key).decode()}
        return self._json("PUT", "recipient", json=body)

    def open_login(self) -> dict[str, Any]:
        """Tokens for a framework's own command."""
        return self._json("POST", "logins", again=False)

    def revoke_token(self, token_id: str) -> None:
        self._request("DELETE", f"tokens/{_segment(token_id)}", again=False)

    def plugins(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "plugins")["adapters"])

    def ready(self) -> bool:
        """Does the gateway answer, with its database?"""
        try:
            return self._http.get("/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    # -- audit ---------------------------------------------------------------------------------

    def audit_entries(
        self, *, start: int = 0, limit: int = 100, job: str | None = None, kind: str | None = None
    ) -> dict[str, Any]:
        given = {"start": start, "limit": limit, "job": job, "kind": kind}
        params = {key: value for key, value in given.items() if value is not None}
        return self._json("GET", "audit/entries", params=params)

    def checkpoint(self) -> dict[str, Any]:
        return self._json("GET", "audit/checkpoint")

    def export_audit(self) -> Iterator[bytes]:
        """The exported log as it arrives."""
        try:
            with self._http.stream("GET", "/api/v1/audit/export") as response:
                _check(response)
                yield from response.iter_bytes(1 << 20)
        except httpx.TransportError as error:
            raise _unreachable(self.profile.api, error) from error

    # -- requests ------------------------------------------------------------------------------

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return _object(self._request(method, path, **request))

    def _request(self, method: str, path: str, *, again: bool = True, **request: Any) -> bytes:
        """One answer's body; asked again after a failure unless doing it twice would matter."""
        pause = _FIRST_PAUSE
        for left in reversed(range(_ATTEMPTS if again else 1)):
            try:
                with self._http.stream(method, f"/api/v1/{path}", **request) as response:
                    if response.status_code not in _TRY_AGAIN or not left:
                        _check(response)
                        return _bounded(response)
            except httpx.TransportError as error:
                if not left or _untrusted(error):
                    raise _unreachable(self.profile.api, error) from error
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _stream(self, path: str, job_id: str, after: int, say: Say | None) -> Iterator[Event]:
        patience = Patience(say or (lambda _: None))
        while True:
            try:
                for event in self._stream_once(path, after, patience.answers):
                    after = max(after, event.id)
                    yield event
                    if event.kind == "state" and event.data.get("state") in _FINAL:
                        return
                if self.job(job_id)["job"]["state"] in _FINAL:
                    return
            except (httpx.TransportError, Unavailable) as error:
                if _untrusted(error) or not patience.fails():
                    lost = _unreachable(self.profile.api, error)
                    lost.remedy = f"the job goes on: `fedgate job watch {job_id}`; {lost.remedy}"
                    raise lost from error
            patience.rest()

    def _stream_once(self, path: str, after: int, answers: Callable[[], None]) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = str(after)
        timeout = httpx.Timeout(30, connect=5, read=_STREAM_SECONDS)
        with self._http.stream(
            "GET", f"/api/v1/{path}", headers=headers, timeout=timeout
        ) as response:
            _check(response)
            answers()
            yield from read_events(response.iter_lines())


def trusting(profile: Profile) -> ssl.SSLContext:
    """Trust the gateway's own CA and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=profile.ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidConfig(
            f"cannot read the gateway's CA certificate {profile.ca}", why=str(error)
        ) from error
    return context


def _segment(name: str) -> str:
    """A name inside a path; raises :class:`InvalidMessage` for what would be another path."""
    if not name or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
        raise InvalidMessage("that is not a name the gateway could know", why=f"{name!r:.100}")
    if name in (".", ".."):
        raise InvalidMessage("that is not a name the gateway could know", why=name)
    return name


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        told = _object(_bounded(response))
    except FedgateError:
        told = {}
    if "code" in told:
        raise error_from_dict(told)
    raise Unavailable("the gateway gave no proper answer", why=f"HTTP {response.status_code}")


def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > _MAX_ANSWER:
            raise InvalidMessage("the gateway's answer is too large")
    return bytes(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unavailable("the gateway gave no proper answer", why="it is not JSON") from error
    if not isinstance(answer, dict):
        raise Unavailable("the gateway gave no proper answer", why="not a JSON object")
    return answer


def _untrusted(error: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _unreachable(api: str, error: Exception) -> FedgateError:
    if isinstance(error, FedgateError):
        return error
    if _untrusted(error):
        return Unavailable(
            f"{api} is not the gateway of this profile",
            why="its certificate is not by the CA that the profile pins",
            remedy="check the address; somebody may be answering in the gateway's place",
        )
    return Unavailable(
        f"the gateway {api} cannot be reached",
        why=str(error) or type(error).__name__,
        remedy="check that it runs, and `api` in the profile",
    )
