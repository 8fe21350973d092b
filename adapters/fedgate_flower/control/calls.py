"""The calls of Flower's Control API that have a meaning here, each translated to the desk."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from fedgate.errors import Denied, FedgateError, InvalidMessage, NotFound
from fedgate.front_door import Caller, Desk, Lines
from fedgate.job import SERIES
from fedgate_flower import identity
from fedgate_flower.control import orders, runs
from fedgate_flower.control import wire_pb2 as pb
from fedgate_flower.control.serving import AROUND, SMALL, answer, asker, read, stream

#: As many runs as Flower shows when nobody says how many, and the most that are asked for at once.
_USUAL, _MOST = 20, 500
_LARGEST_SKIP = 10_000
Call = Callable[[Request, Caller], Awaitable[Response]]
OpenCall = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Calls:
    """``flwr``'s calls by the last part of their path."""

    desk: Desk

    @property
    def known(self) -> dict[str, Call]:
        return {
            "start-run": self.start_run,
            "list-runs": self.list_runs,
            "stream-logs": self.stream_logs,
            "stop-run": self.stop_run,
            "pull-artifacts": self.pull_artifacts,
        }

    @property
    def open(self) -> dict[str, OpenCall]:
        """Those that somebody without a token makes in order to get one."""
        return {
            "get-login-details": self.get_login_details,
            "get-auth-tokens": self.get_auth_tokens,
            "refresh-auth-tokens": self.refresh_auth_tokens,
        }

    async def start_run(self, request: Request, caller: Caller) -> Response:
        limit = self.desk.archive_bytes + AROUND
        archive, order = orders.read(await read(request, pb.StartRunRequest, limit))
        try:
            sight = await self.desk.submit(caller, archive, order)
        except (NotFound, InvalidMessage, Denied) as error:
            raise _in_flwr_s_words(error) from error
        told = pb.StartRunResponse(
            run_id=sight.number,
            note=runs.note(sight),
            federation=runs.federation(sight.job.project),
        )
        if series := sight.job.config.get(SERIES):
            told.series_id = identity.series_id(str(series), sight.job.id)
        return answer(told)

    async def list_runs(self, request: Request, caller: Caller) -> Response:
        asked = await read(request, pb.ListRunsRequest, SMALL)
        if asked.HasField("run_id"):
            seen = [await self.desk.look(caller, _number(asked.run_id))]
        else:
            limit = asked.limit if asked.HasField("limit") else _USUAL
            skip = min(asked.skip, _LARGEST_SKIP)
            seen = list(await self.desk.list(caller, limit=min(limit, _MOST), skip=skip))
        told = {sight.number: runs.run(sight) for sight in seen}
        return answer(pb.ListRunsResponse(run_dict=told, now=datetime.now(UTC).isoformat()))

    async def stream_logs(self, request: Request, caller: Caller) -> Response:
        asked = await read(request, pb.StreamLogsRequest, SMALL)
        after = _time(asked.after_timestamp)
        lines = await self.desk.follow(caller, _number(asked.run_id), after=after)
        return stream(_logs(lines))

    async def stop_run(self, request: Request, caller: Caller) -> Response:
        asked = await read(request, pb.StopRunRequest, SMALL)
        await self.desk.cancel(caller, _number(asked.run_id))
        return answer(pb.StopRunResponse(success=True))

    async def pull_artifacts(self, request: Request, caller: Caller) -> Response:
        asked = await read(request, pb.PullArtifactsRequest, SMALL)
        number = _number(asked.run_id)
        link = await self.desk.outputs_link(caller, number, asker(request))
        return answer(pb.PullArtifactsResponse(url=link))

    async def get_login_details(self, request: Request) -> Response:
        await read(request, pb.GetLoginDetailsRequest, SMALL)
        begun = await self.desk.login.begin(asker(request))
        return answer(
            pb.GetLoginDetailsResponse(
                authn_type="oidc",  # the only kind of login that flwr has
                device_code=begun.device_code,
                verification_uri_complete=begun.url,
                expires_in=begun.expires_in,
                interval=begun.interval,
            )
        )

    async def get_auth_tokens(self, request: Request) -> Response:
        asked = await read(request, pb.GetAuthTokensRequest, SMALL)
        tokens = await self.desk.login.poll(asked.device_code)
        if tokens is None:  # not answered yet: flwr asks again after an empty answer
            return answer(pb.GetAuthTokensResponse())
        return answer(
            pb.GetAuthTokensResponse(access_token=tokens.access, refresh_token=tokens.refresh)
        )

    async def refresh_auth_tokens(self, request: Request) -> Response:
        asked = await read(request, pb.RefreshAuthTokensRequest, SMALL)
        tokens = await self.desk.login.refresh(asked.refresh_token)
        return answer(
            pb.RefreshAuthTokensResponse(access_token=tokens.access, refresh_token=tokens.refresh)
        )


async def _logs(lines: AsyncIterator[Lines]) -> AsyncIterator[Message]:
    async for said in lines:
        yield pb.StreamLogsResponse(log_output=said.text, latest_timestamp=said.at.timestamp())


def _in_flwr_s_words(error: FedgateError) -> FedgateError:
    """It has no options for sites and datasets; and of a project or a site that is not there, to
    Flower that is not a missing run.
    """
    kind = InvalidMessage if isinstance(error, NotFound) else type(error)
    words = (error.what, error.remedy)
    chosen = any(word in text for text in words for word in ("site", "dataset"))
    remedy = f"{error.remedy}; {orders.IN_FLWR}" if chosen and error.remedy else error.remedy
    return kind(error.what, why=error.why, remedy=remedy)


def _number(run_id: int) -> int:
    """Flower's field is unsigned and its ids are not; 0 is nobody's."""
    return run_id if run_id < 2**63 else 0


def _time(timestamp: float) -> datetime | None:
    if timestamp == 0:
        return None
    if not math.isfinite(timestamp) or not 0 < timestamp < 1e11:
        raise InvalidMessage("after_timestamp is not a time", why="it counts seconds since 1970")
    return datetime.fromtimestamp(timestamp, UTC)
