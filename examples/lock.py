"""A lock for many processes: one holder at a time, free again by itself when its holder dies.

Who gets the lock also gets a number that only grows. Hand it on to what the lock protects, and let that refuse smaller numbers than it has seen:
so a holder that was stopped for longer than the lock lives does no harm when it goes on.
"""

import argparse
import contextlib
import multiprocessing
import secrets
import time

import redis


class Lock:
    def __init__(self, client, name, lease_ms=10_000):
        self.client, self.key, self.lease_ms = client, f"lock:{name}", lease_ms
        self.token = secrets.token_hex(16)

    def try_acquire(self):
        """The number of this tenure, or None if somebody else has the lock."""
        if not self.client.set(self.key, self.token, nx=True, px=self.lease_ms):
            return None
        return self.client.execute_command("COUNTER.INCR", f"{self.key}:tenures")

    def release(self):
        """Lets go, unless the lock has passed to somebody else: compared and deleted in one step."""
        return self.client.execute_command("DELIFEQ", self.key, self.token) == 1

    @contextlib.contextmanager
    def held(self, patience_s=60):
        deadline = time.monotonic() + patience_s
        while (tenure := self.try_acquire()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(self.key)
            time.sleep(0.001)
        try:
            yield tenure
        finally:
            self.release()


def work(port, rounds, account):
    lock = Lock(redis.Redis(port=port), "account")
    for _ in range(rounds):
        with lock.held():
            # Without the lock, two processes would read the same balance and one addition would be lost.
            balance = account.value
            time.sleep(0.0005)
            account.value = balance + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=6380)
    port = parser.parse_args().port
    account = multiprocessing.Value("i", 0, lock=False)
    processes = [multiprocessing.Process(target=work, args=(port, 25, account)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print(f"4 processes added 100 in turns, the balance is {account.value}")


if __name__ == "__main__":
    main()
