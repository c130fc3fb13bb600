"""A chat: what one says in a room, all in the room hear, whichever worker each of them is connected to.

Lines from standard input are said; what others say is printed. The end of the input leaves the room.
"""

import argparse
import sys
import threading

import redis


class Room:
    def __init__(self, port, room, name, hear):
        self.client = redis.Redis(port=port, decode_responses=True)
        self.channel, self.name = f"chat:{room}", name
        self.ears = self.client.pubsub(ignore_subscribe_messages=True)
        self.ears.subscribe(**{self.channel: lambda message: hear(message["data"])})
        # The subscription holds once its confirmation is there.
        self.ears.get_message(timeout=10)
        self.listener = self.ears.run_in_thread(sleep_time=0.1, daemon=True)

    def say(self, line):
        """Says a line, and returns how many heard it."""
        return self.client.publish(self.channel, f"{self.name}: {line}")

    def members(self):
        return self.client.pubsub_numsub(self.channel)[0][1]

    def leave(self):
        self.listener.stop()
        self.listener.join()
        self.client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("room")
    parser.add_argument("name")
    parser.add_argument("--port", type=int, default=6380)
    options = parser.parse_args()
    written = threading.Lock()

    def hear(text):
        with written:
            print(text, flush=True)

    room = Room(options.port, options.room, options.name, hear)
    hear(f"* {room.members()} in the room")
    for line in sys.stdin:
        room.say(line.rstrip("\n"))
    room.leave()


if __name__ == "__main__":
    main()
