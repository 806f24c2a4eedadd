"""Async actors: methods that `await` take turns in one process, so that a thousand callers may wait at once."""

import asyncio
import time

import linckia


@linckia.remote
class Room:
    def __init__(self):
        self.messages = []
        self.arrived = asyncio.Event()

    async def say(self, text):
        self.messages.append(text)
        self.arrived.set()

    async def next_message(self):
        await self.arrived.wait()
        return self.messages[-1]


with linckia.init():
    room = Room.remote()
    start = time.perf_counter()
    waiting = [room.next_message.remote() for _ in range(500)]  # all of them inside the actor, none blocks it
    room.say.remote("hello")
    answers = linckia.get(waiting)
    print(f"{len(answers)} listeners heard {answers[0]!r} after {time.perf_counter() - start:.2f} s")
    assert answers == ["hello"] * 500

    async def listen():
        return await room.next_message.remote()  # refs can be awaited in your own event loop, too

    assert asyncio.run(listen()) == "hello"
