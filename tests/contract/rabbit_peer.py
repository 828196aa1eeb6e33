"""The other side of RabbitMQ's tests: its management interface, which counts by itself."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

from labkit.servers import RabbitServer


def management(server: RabbitServer, path: str) -> Any:
    """What the management interface answers."""
    login = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    request = urllib.request.Request(
        server.management_url + path, headers={"Authorization": f"Basic {login}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
