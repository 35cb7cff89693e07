"""How each of the two clients waits."""

from __future__ import annotations

import asyncio
import time

async_sleep = asyncio.sleep
sleep = time.sleep
