"""A small load for tests: many keep-alive connections, every answer checked. Not a benchmark (bench/ has that)."""
import asyncio
import os
import random


class Result:
    def __init__(self):
        self.good, self.bad, self.broken = 0, [], 0

    def __repr__(self):
        return f"{self.good} good, {len(self.bad)} bad (first: {self.bad[:2]}), {self.broken} connections broken"


async def ask(reader, writer, method, path, body, headers=b""):
    writer.write(b"%s %s HTTP/1.1\r\nhost: t\r\n%scontent-length: %d\r\n\r\n%s" % (method, path, headers, len(body), body))
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return status, await reader.readexactly(length) if length else b""


async def echo_client(port, path, result, stop, size, seed):
    rng = random.Random(seed)
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        except OSError:
            result.broken += 1
            await asyncio.sleep(0.02)
            continue
        try:
            while not stop.is_set():
                body = os.urandom(rng.randrange(1, size))
                status, answer = await ask(reader, writer, b"POST", path, body)
                if status == 200 and answer == body:
                    result.good += 1
                else:
                    result.bad.append((status, answer[:200]))
                    break
        except (OSError, EOFError):
            result.broken += 1
        finally:
            writer.close()


async def _echo_load(port, path, connections, size, during):
    result, stop = Result(), asyncio.Event()
    clients = [asyncio.create_task(echo_client(port, path, result, stop, size, i)) for i in range(connections)]
    try:
        await asyncio.get_running_loop().run_in_executor(None, during, result)
    finally:
        stop.set()
        done, late = await asyncio.wait(clients, timeout=30)
        for task in late:
            task.cancel()
    for task in done:
        task.result()
    assert not late, f"{len(late)} requests were never answered; {result}"
    return result


def echo_load(server, connections, during, model="echo", size=2000):
    """Keeps `connections` busy with random bodies while during(result) runs in a thread; returns what came back. Fails if an
    answer is still missing 30 s after the load has stopped."""
    path = f"/predictions/{model}".encode()
    return asyncio.run(_echo_load(server.ports["inference"], path, connections, size, during))
