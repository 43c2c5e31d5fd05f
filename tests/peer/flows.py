"""Steps of more than one request: at once, one after the other, chunk by chunk, clients that leave."""
import threading
import time

import harness


def at_once(server, parts, ask, gap=0.04):
    """Requests that are on their way together, each a moment after the one before; "1", "2", … -> note."""
    notes = {}

    def one(i, part):
        time.sleep(gap * i)
        notes[str(i + 1)] = ask(server, part)

    threads = [threading.Thread(target=one, args=(i, part)) for i, part in enumerate(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {str(i + 1): notes.get(str(i + 1)) for i in range(len(parts))}


def in_turn(server, parts, ask):
    """Requests of which each waits for the answer of the one before; a part may only be {"sleep": seconds}."""
    notes = {}
    for part in parts:
        if "sleep" in part:
            time.sleep(part["sleep"])
        else:
            notes[str(len(notes) + 1)] = ask(server, part)
    return notes


def begin(wire, step, headers):
    body = step.get("body", b"")
    fields = {"Host": "localhost", "Content-Length": len(body), **headers}
    wire.send(f"{step.get('method', 'POST')} {step['path']} HTTP/1.1\r\n"
              + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n")
    wire.send(body)


def head(wire):
    version, _, rest = wire.line().partition(" ")
    status, _, reason = rest.partition(" ")
    fields = []
    while line := wire.line():
        name, _, value = line.partition(":")
        fields.append((name, value.strip()))
    return version, int(status), reason, fields


def chunk(wire):
    """The next chunk; b"" is the end. Raises if what comes is none."""
    size = int(wire.line(), 16)
    data = wire.take(size)
    if wire.line():
        raise ValueError("a chunk that does not end")
    return data


def stream(server, step, headers):
    """A reply with its chunks as they came, and how it ended: `complete`, `closed`, `no chunk`, or `whole` if it came in one
    piece, `silence`: nothing in time. Where a server breaks the rules of chunks, what it sent instead is in the last chunk."""
    with harness.wire(server, step.get("api", "inference"), step.get("timeout", 12)) as wire:
        begin(wire, step, headers)
        try:
            version, status, reason, fields = head(wire)
        except (TimeoutError, EOFError) as e:
            return None, "silence" if isinstance(e, TimeoutError) else "closed"
        lower = {n.lower(): v for n, v in fields}
        if lower.get("transfer-encoding") != "chunked":
            data = wire.take(int(lower.get("content-length", 0)))
            return harness.Reply(version, status, reason, fields, data, None), "whole"
        chunks, end = [], "complete"
        try:
            while data := chunk(wire):
                chunks.append(data)
        except EOFError:
            end = "closed"
        except TimeoutError:
            end = "silence"
        except ValueError:
            end = "no chunk"
        return harness.Reply(version, status, reason, fields, b"".join(chunks), chunks), end


def leave(server, step, headers):
    """A client that goes after some chunks; how many it had."""
    got = 0
    with harness.wire(server, step.get("api", "inference"), 20) as wire:
        begin(wire, step, headers)
        head(wire)
        while got < step["leave"] and chunk(wire):
            got += 1
    return {"had": got}
