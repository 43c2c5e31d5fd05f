"""The old place of send_intermediate_predict_response."""
from ts.handler_utils import utils
from ts.utils.util import deprecated


@deprecated(version="1.0.0", replacement="ts.handler_utils.utils.send_intermediate_predict_response")
def send_intermediate_predict_response(ret, req_id_map, message, code, context=None):
    utils.send_intermediate_predict_response(ret, req_id_map, message, code, context)
