"""Continuous batching (workers-and-handlers.md §15.5): requests join a set that is computed turn by turn, and each
leaves when its answer is complete."""
import logging

from ts._runtime.outlet import STREAM_NEXT

logger = logging.getLogger(__name__)

_NEXT = (STREAM_NEXT, "true")


def serve(channel, service, places, fail):
    """Turns with at most `places` requests, until there is no more work; what is open at SIGTERM is brought to its end.
    `fail(reply, ids)` answers a turn that failed as a whole. Returns the exit code."""
    open_requests = {}  # id -> headers, in order of arrival
    ended = service.outlet.ended = set()
    over = False
    while True:
        new = None if over else channel.take_new(places - len(open_requests), 0 if open_requests else -1)
        if new is None:
            over = True
            if not open_requests or channel.over != "stopped":
                return 0
            new = ()
        rows = {}
        for request_id, headers, row in new:
            # In later turns the row is empty, and with it what the headers say of its parameters.
            open_requests[request_id] = {k: v for k, v in headers.items() if not isinstance(v, dict)}
            rows[request_id] = headers, row
        for request_id in channel.cancelled():  # perhaps of those that have just come
            if open_requests.pop(request_id, None) is not None:
                logger.info("Connection to client got closed; Removing job: %s", request_id)
                channel.answer([(request_id, b"", 499, "", None, ())])
        batch = [(request_id,) + rows.get(request_id, (headers, {})) for request_id, headers in open_requests.items()]
        if not batch:
            continue
        ended.clear()
        reply = service.predict(batch)
        for request_id in ended:
            open_requests.pop(request_id, None)
        if reply.code != 200:
            fail(reply, list(open_requests))
            open_requests.clear()
            continue
        parts, finals = [], []
        for (request_id, _, _), item in zip(batch, reply.items):
            if request_id in open_requests:
                goes_on = _NEXT in item[4]
                (parts if goes_on else finals).append((request_id,) + item)
                if not goes_on:
                    del open_requests[request_id]
        if finals:
            channel.answer(finals)
        if parts:
            channel.part(parts)
