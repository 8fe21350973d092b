"""Whether a site has room for one more job: places, and what it declares that jobs can ask it for.

A site checks both by itself when a job joins; here they keep a job in the queue that would be
refused there.
"""

from __future__ import annotations

from fedgate.resources import Amounts, held_by_others
from fedgate_gateway.relay.connections import Connections
from fedgate_gateway.relay.router import Router


class SiteRoom:
    def __init__(self, connections: Connections, router: Router) -> None:
        self._connections = connections
        self._router = router

    def waits_for(self, site: str, wanted: Amounts) -> str:
        """Why a job waits for the site, in words; empty where it need not.

        A job waits for sites that are busy; one that is not there does not keep it waiting.
        """
        connection = self._connections.site(site)
        if connection is None:
            return ""
        routes = [route for route in self._router.routes.values() if site in route.sites]
        if len(routes) >= connection.hello.max_jobs:
            return f"site {site} runs as many jobs as it takes at a time"
        held = [route.resources.get(site, {}) for route in routes]
        short = held_by_others(wanted, dict(connection.hello.resources), held)
        return f"site {site}: {', '.join(short)}" if short else ""
