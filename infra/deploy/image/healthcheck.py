#!/opt/casaflow/bin/python
"""Whether the process of this container answers: exit code 0 if HEALTHCHECK_URL does. The image has no shell tool that could ask."""

import os
import sys
import urllib.request

_URL = os.environ.get("HEALTHCHECK_URL", "http://127.0.0.1:8080/healthz")
_TIMEOUT_SECONDS = 5.0

try:
    # No proxy of the environment: it is this container that is asked.
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(_URL, timeout=_TIMEOUT_SECONDS).close()
except (OSError, ValueError) as error:
    sys.stderr.write(f"{_URL}: {error}\n")
    sys.exit(1)
