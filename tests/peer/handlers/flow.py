"""The functions of the workflows of the comparisons: each is a node."""
import json
import time

calls = {}


def values(row):
    """A row's parameters as text."""
    return {name: bytes(value).decode() if isinstance(value, (bytes, bytearray)) else value for name, value in row.items()}


def pre(data, context):
    return data and [f"pre({values(row).get('body')})" for row in data]


def post(data, context):
    return data and [f"post({values(row)['body']})" for row in data]


def left(data, context):
    return data and [f"left({values(row)['body']})" for row in data]


def right(data, context):
    time.sleep(0.3 if data else 0)
    return data and [f"right({values(row)['body']})" for row in data]


def join(data, context):
    return data and [json.dumps(values(row)) for row in data]


def one(data, context):
    """A leaf that answers with an object."""
    return data and [{"one": values(row)["body"], "none": None, "list": [1, 2.50, None, "ü<&>"], "deep": {"n": None, "e": {}}}
                     for row in data]


def two(data, context):
    time.sleep(0.5 if data else 0)
    return data and [b'{"two": 1e5, "two2": [], "\\u00fc": "\\u2028"}' for _ in data]


def text(data, context):
    return data and ["no object" for _ in data]


def seen(data, context):
    """What a node gets."""
    if not data:
        return data
    headers = {name: value for name, value in context.get_all_request_header(0).items()}
    return [json.dumps({"row": {k: [type(v).__name__, values(row)[k]] for k, v in row.items()}, "headers": headers}) for row in data]


def again(data, context):
    """Fails the first two times of three."""
    if data:
        calls["again"] = calls.get("again", 0) + 1
        if calls["again"] % 3:
            raise ValueError(f"call {calls['again']}")
        return [f"call {calls['again']}"]


def broken(data, context):
    if data:
        raise ValueError("a: b: c")


def slow(data, context):
    time.sleep(1.5 if data else 0)
    return data and ["slow"]


def refusing(data, context):
    if data:
        context.set_response_status(404, "Not here", 0)
        context.set_response_content_type(0, "text/x-mine")
        context.set_response_header(0, "x-mine", "yes")
        return ["refused"]


def nothing(data, context):
    return data and [None]


def empty(data, context):
    return data and [""]


def died(data, context):
    if data:
        import os
        os._exit(3)


def load_fails(data, context):
    raise RuntimeError("does not load")
