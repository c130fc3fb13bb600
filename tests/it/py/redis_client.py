"""What a user of redis-py does in a day, against the server named on the command line: HOST PORT PROTOCOL."""

import sys
import threading

import redis

host, port, protocol = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def client(**options):
    return redis.Redis(host=host, port=port, protocol=protocol, socket_timeout=10, **options)


r = client(decode_responses=True, client_name="tester")
r.flushall()
assert r.ping() is True
assert r.client_getname() == "tester"
assert r.set("a", "1") is True
assert r.get("a") == "1"
assert r.set("a", "2", nx=True) is None
assert r.set("a", "2", xx=True, get=True) == "1"
assert r.incr("a") == 3 and r.incrby("a", 10) == 13 and r.decr("a") == 12
assert float(r.incrbyfloat("f", 0.5)) == 0.5
assert r.mset({"m1": "x", "m2": "y"}) is True
assert r.mget("m1", "none", "m2") == ["x", None, "y"]
assert r.expire("m1", 100) and 90 < r.ttl("m1") <= 100
assert r.persist("m1") and r.ttl("m1") == -1
assert r.getdel("m1") == "x" and r.exists("m1", "m2") == 1
assert r.append("m2", "z") == 2 and r.strlen("m2") == 2
assert r.rename("m2", "m3") and r.type("m3") == "string"
assert sorted(r.scan_iter(count=1)) == sorted(r.keys("*")) == ["a", "f", "m3"]
assert r.dbsize() == 3
assert r.info()["db0"]["keys"] == 3
assert r.config_get("maxclients") == {"maxclients": "10000"}
assert any(c["name"] == "tester" for c in r.client_list())

raw = client()
value = bytes(range(256)) * 1000
assert raw.set(b"bin\x00ary", value) and raw.get(b"bin\x00ary") == value

pipe = r.pipeline(transaction=False)
for i in range(1000):
    pipe.set(f"p{i}", i)
    pipe.get(f"p{i}")
replies = pipe.execute()
assert replies == [reply for i in range(1000) for reply in (True, str(i))]

try:
    r.incr("m3")
    raise AssertionError("an error was expected")
except redis.ResponseError as error:
    assert "not an integer" in str(error), error

assert r.execute_command("TABLE.MAKE", "py", 16, "name", "string", 32, "score", "int") in ("OK", True)
assert r.execute_command("TABLE.SET", "py", "row", "name", "alice", "score", 100) in ("OK", True)
row = r.execute_command("TABLE.GET", "py", "row")
row = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2]))
assert row == {"name": "alice", "score": 100}, row
assert r.execute_command("TABLE.INCR", "py", "row", "score", 1) == 101
assert r.execute_command("TABLE.DROP", "py") in ("OK", True)
before = int(r.execute_command("COUNTER.GET", "py") or 0)
assert r.execute_command("COUNTER.INCR", "py", 2) == before + 2

pool = redis.ConnectionPool(host=host, port=port, protocol=protocol, max_connections=8)


def count():
    shared = redis.Redis(connection_pool=pool)
    for _ in range(200):
        shared.incr("pool")


threads = [threading.Thread(target=count) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert int(r.get("pool")) == 1600

if protocol == 3:
    assert isinstance(r.execute_command("HELLO"), dict)
print("ok")
