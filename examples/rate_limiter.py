"""A rate limiter: at most LIMIT requests a window for each caller, counted exactly over all processes and workers.

The first request of a window makes the counter and its expiry in one transaction; the expiry ends the window. There is nothing to
clean up, and a process that is killed in between leaves no counter without an expiry.
"""

import argparse
import multiprocessing

import redis


class RateLimiter:
    def __init__(self, client, limit, window_s):
        self.client, self.limit, self.window_s = client, limit, window_s

    def allow(self, caller):
        """Whether this request of the caller may go ahead, and how many more may in this window."""
        key = f"rate:{caller}"
        with self.client.pipeline(transaction=True) as transaction:
            transaction.incr(key)
            transaction.expire(key, self.window_s, nx=True)
            used, _ = transaction.execute()
        return used <= self.limit, max(self.limit - used, 0)


def knock(port, requests, allowed):
    limiter = RateLimiter(redis.Redis(port=port), limit=100, window_s=60)
    count = sum(limiter.allow("alice")[0] for _ in range(requests))
    with allowed.get_lock():
        allowed.value += count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=6380)
    port = parser.parse_args().port
    redis.Redis(port=port).delete("rate:alice")
    allowed = multiprocessing.Value("i", 0)
    processes = [multiprocessing.Process(target=knock, args=(port, 75, allowed)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(f"4 processes made 300 requests, {allowed.value} were allowed")


if __name__ == "__main__":
    main()
