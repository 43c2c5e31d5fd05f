"""A handler without a class and without torch: a function that is called once with no data, then for each batch."""
import logging

loaded = False


def handle(data, context):
    global loaded
    if data is None:
        logging.info("loading %s", context.model_name)
        loaded = True
        return None
    return [f"{len(row.get('data') or row.get('body') or b'')} bytes" for row in data]
