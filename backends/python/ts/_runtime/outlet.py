"""What handlers know as context.cl_socket: the way by which parts of answers leave while the handler goes on."""
from ts.encoding import encode, response_head

STREAM_NEXT = "ts_stream_next"


class Outlet:
    """One for a worker. Any of a handler's threads may send.

    `ended` has the ids that a handler has answered with an error before it returned; who serves takes them out. None:
    nobody does, since the channel knows.
    """

    def __init__(self, channel):
        self._channel = channel
        self.ended = None

    def __deepcopy__(self, memo):
        return self

    def send_intermediate(self, ret, req_id_map, message, code, context):
        """A part for each request of `req_id_map` ({index: id}; some of the batch will do), from `ret[index]`, with the
        status and the headers that the context has at that index. A code other than 200 ends these requests with that
        error. Raises ValueError for an id that is not being answered, TypeError for what cannot be encoded; nothing is
        sent then."""
        if context is None:
            raise ValueError("send_intermediate_predict_response needs the handler's context")
        known = context.request_ids or {}
        strange = set(req_id_map.values()).difference(known.values())
        if strange:
            raise ValueError("these are no requests of the present call: %s" % ", ".join(map(str, sorted(strange, key=str))))
        if code != 200:
            self._fail(list(req_id_map.values()), code, str(message))
            return
        processors = context.request_processor
        items = []
        for index, request_id in req_id_map.items():
            processor = processors[index]
            processor.add_response_property(STREAM_NEXT, "true")
            items.append((request_id, encode(ret[index])) + response_head(processor))
        self._channel.part(items)

    def sendall(self, data):
        """A reply in TorchServe's wire format, as create_predict_response makes it: for handlers with code of their own
        around the connection. Its predictions are parts."""
        from ts.protocol.otf_message_handler import read_predict_response

        code, message, predictions = read_predict_response(data)
        if code != 200:
            self._fail([prediction[0] for prediction in predictions], code, message)
            return
        self._channel.part(predictions)

    def send(self, data):
        self.sendall(data)
        return len(data)

    def _fail(self, ids, code, message):
        self._channel.answer([(request_id, code, message) for request_id in ids])
        if self.ended is not None:
            self.ended.update(ids)
