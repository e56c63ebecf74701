"""Six requests in a row for each item and nothing else, at most so many items under way: as fast as a client can be.

``python bare.py aiohttp|httpx WORK.json``
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Post = Callable[[dict[str, object]], Awaitable[dict]]


@asynccontextmanager
async def aiohttp_post(url: str, in_flight: int):
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:

        async def post(body: dict[str, object]) -> dict:
            async with session.post(url, json=body) as response:
                return await response.json()

        yield post


@asynccontextmanager
async def httpx_post(url: str, in_flight: int):
    import httpx

    # It keeps 20 connections alive, as by default. Its pool compares all idle ones with each other for every request:
    # with as many as may be in flight, it was a fifth as fast.
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=20)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def post(body: dict[str, object]) -> dict:
            return (await client.post(url, json=body)).json()

        yield post


async def chain(post: Post, work: dict, context: str) -> None:
    replies = {"{context}": context}
    for number, step in enumerate(work["steps"]):
        prompt = step
        for placeholder, text in replies.items():
            prompt = prompt.replace(placeholder, text)
        body = {"model": work["model"], "messages": [{"role": "user", "content": prompt}], "temperature": 0.9}
        replies[f"{{reply_{number}}}"] = (await post(body))["choices"][0]["message"]["content"]


async def main(client: str, work: dict) -> None:
    slots = asyncio.Semaphore(work["in_flight"])

    async def one(context: str) -> None:
        async with slots:
            await chain(post, work, context)

    opened = {"aiohttp": aiohttp_post, "httpx": httpx_post}[client]
    async with opened(f"{work['url']}/chat/completions", work["in_flight"]) as post:
        await asyncio.gather(*(one(context) for context in work["contexts"]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))))
