"""Feature flags that are read from the process's own memory, and never stale for longer than a message takes.

The client keeps what it has read (RESP3, client-side caching), and the server tells it when one of those keys is changed, by
whichever worker. Asking for a flag a million times costs one request.
"""

import argparse
import time

import redis
from redis.cache import CacheConfig


class Flags:
    def __init__(self, port):
        self.client = redis.Redis(port=port, protocol=3, decode_responses=True, cache_config=CacheConfig(max_size=1000))

    def is_on(self, name):
        return self.client.get(f"flag:{name}") == "on"

    def switch(self, name, on):
        self.client.set(f"flag:{name}", "on" if on else "off")


def requests_of(client, admin):
    """How many GETs the server has answered to this client."""
    return int(admin.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=6380)
    port = parser.parse_args().port
    page, admin = Flags(port), Flags(port)
    admin.switch("new-checkout", False)
    assert not page.is_on("new-checkout")
    before = requests_of(page.client, admin.client)
    for _ in range(10_000):
        page.is_on("new-checkout")
    asked = requests_of(page.client, admin.client) - before
    print(f"10000 questions, {asked} requests")
    started = time.monotonic()
    admin.switch("new-checkout", True)
    while not page.is_on("new-checkout"):
        if time.monotonic() > started + 10:
            raise SystemExit("the change did not arrive")
    print("the change has arrived")


if __name__ == "__main__":
    main()
