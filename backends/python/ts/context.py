"""What a handler is told about its model and its requests, and what it says about its answers.

One Context lives as long as its worker: attributes that a handler sets on it stay. Per batch, objects are only made
for what is asked: a handler that looks at no header and sets no status pays nothing for them.
"""
import os

from ts._runtime.request_ids import RequestIds


class RequestProcessor:
    """One request's headers, and the status and headers of its answer."""

    def __init__(self, request_header):
        self._status_code = 200
        self._reason_phrase = None
        self._response_header = {}
        self._request_header = request_header

    def get_request_property(self, key):
        return self._request_header.get(key)

    def get_request_properties(self):
        return self._request_header

    def report_status(self, code, reason_phrase=None):
        self._status_code = code
        self._reason_phrase = reason_phrase

    def get_response_status_code(self):
        return self._status_code

    def get_response_status_phrase(self):
        return self._reason_phrase

    def add_response_property(self, key, value):
        self._response_header[key] = value

    def get_response_header(self, key):
        return self._response_header.get(key)

    def get_response_headers(self):
        return self._response_header


class Context(RequestIds):
    """See the attributes below; anything else that a handler sets is kept.

    Not for two threads that serve two batches: it describes one batch at a time.
    """

    def __init__(self, model_name, model_dir, manifest, batch_size, gpu, mms_version,
                 limit_max_image_pixels=True, metrics=None, model_yaml_config=None):
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config = model_yaml_config
        self.stopping_criteria = None
        self.cl_socket = None
        self.header_key_sequence_id = os.environ.get("TS_REQUEST_SEQUENCE_ID", "ts_request_sequence_id")
        self.header_key_sequence_start = os.environ.get("TS_REQUEST_SEQUENCE_START", "ts_request_sequence_start")
        self.header_key_sequence_end = os.environ.get("TS_REQUEST_SEQUENCE_END", "ts_request_sequence_end")
        self._system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
            "limit_max_image_pixels": limit_max_image_pixels,
        }
        self._metrics = metrics
        self._headers = ()  # of the batch in order, until someone asks for the processors
        self._processors = None

    def begin(self, ids, headers):
        """A new batch: ids and header dicts, in its order. For the service only."""
        self._ids = ids
        self._headers = headers
        self._request_ids = None
        self._processors = None

    @property
    def system_properties(self):
        return self._system_properties

    @property
    def metrics(self):
        """The metrics cache."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics):
        self._metrics = metrics

    @property
    def request_processor(self):
        """One RequestProcessor for each request of the batch, None before the first one."""
        if self._processors is None and self._headers:
            self._processors = [RequestProcessor(headers) for headers in self._headers]
        return self._processors

    @request_processor.setter
    def request_processor(self, processors):
        self._headers = ()
        self._processors = processors

    def get_request_id(self, idx=0):
        ids = self.request_ids
        return ids.get(idx) if ids else None

    def get_request_header(self, idx, key):
        if self._processors is None and self._headers:
            return self._headers[idx].get(key)
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx):
        return self.request_processor[idx].get_request_properties()

    def set_response_content_type(self, idx, value):
        self.request_processor[idx].add_response_property("content-type", value)

    def get_response_content_type(self, idx):
        return self.request_processor[idx].get_response_header("content-type")

    def set_response_header(self, idx, key, value):
        self.request_processor[idx].add_response_property(key, value)

    def get_response_headers(self, idx):
        return self.request_processor[idx].get_response_headers()

    def set_response_status(self, code=200, phrase="", idx=0):
        processors = self.request_processor
        if processors is not None:
            processors[idx].report_status(code, reason_phrase=phrase)

    def set_all_response_status(self, code=200, phrase=""):
        for processor in self.request_processor or ():
            processor.report_status(code, reason_phrase=phrase)

    def get_response_status(self, idx):
        processor = self.request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def get_sequence_id(self, idx):
        return self.get_request_header(idx, self.header_key_sequence_id)

    def __eq__(self, other):
        return isinstance(other, Context) and self.__dict__ == other.__dict__

    __hash__ = None
