"""A session store: each session is a hash that expires when it has not been used for a while.

Reading a session prolongs it, in the same transaction: it cannot expire between the two.
"""

import argparse
import secrets

import redis


class Sessions:
    def __init__(self, client, idle_s=1800):
        self.client, self.idle_s = client, idle_s

    @staticmethod
    def key(token):
        return f"session:{token}"

    def create(self, **fields):
        """Makes a session and returns the token that the client keeps in its cookie."""
        token = secrets.token_urlsafe(24)
        self.update(token, **fields)
        return token

    def update(self, token, **fields):
        with self.client.pipeline(transaction=True) as transaction:
            transaction.hset(self.key(token), mapping=fields)
            transaction.expire(self.key(token), self.idle_s)
            transaction.execute()

    def read(self, token):
        """The fields of a session, or None if there is no such session or it has expired."""
        with self.client.pipeline(transaction=True) as transaction:
            transaction.hgetall(self.key(token))
            transaction.expire(self.key(token), self.idle_s)
            fields, _ = transaction.execute()
        return fields or None

    def count_visit(self, token):
        return self.client.hincrby(self.key(token), "visits", 1)

    def destroy(self, token):
        self.client.delete(self.key(token))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=6380)
    port = parser.parse_args().port
    # Two processes of an application, each with a connection of its own.
    login, shop = (Sessions(redis.Redis(port=port, decode_responses=True)) for _ in range(2))
    token = login.create(user="alice", cart="[]")
    shop.update(token, cart="[7, 9]")
    visits = [sessions.count_visit(token) for sessions in (login, shop, login)]
    print(f"{shop.read(token)['user']} has {shop.read(token)['cart']} after visit {visits[-1]}")
    print(f"expires in {login.client.ttl(Sessions.key(token))} s unless it is used")
    login.destroy(token)
    print(f"after logout: {shop.read(token)}")


if __name__ == "__main__":
    main()
