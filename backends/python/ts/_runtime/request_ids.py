"""The ids of a batch, as handlers may ask for them."""


class RequestIds:
    """`request_ids` for whoever is told of a batch by `_ids`: the dict is only made for who asks for it."""

    _ids = None  # ids of the batch in order, until someone asks for the dict
    _request_ids = None

    @property
    def request_ids(self):
        """`{index: id}` of the batch, or whatever was set; None before the first batch."""
        if self._request_ids is None and self._ids is not None:
            self._request_ids = dict(enumerate(self._ids))
        return self._request_ids

    @request_ids.setter
    def request_ids(self, request_ids):
        self._ids = None
        self._request_ids = request_ids
