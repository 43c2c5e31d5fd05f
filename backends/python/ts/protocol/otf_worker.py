"""A worker for a driver that speaks TorchServe's protocol: it listens, the driver connects, loads a model and sends
batches (workers-and-handlers.md §17.4 of the contract).

    model_service_worker.py --sock-type unix --sock-name /tmp/.ts.sock.9000 [--metrics-config FILE] [--async]

Sconce starts its own workers otherwise (ts._runtime.main); this one is for who starts workers by hand, as TorchServe's
debug mode wants it.
"""
import logging
import os
import queue
import socket
import sys
import threading
import time

from ts.arg_parser import ArgParser
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory, load_failure
from ts.protocol.otf_message_handler import LOAD_MSG, PREDICT_MSG, create_load_model_response, retrieve_msg

logger = logging.getLogger(__name__)

METRICS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs", "metrics.yaml")
SOCKET_ACCEPT_TIMEOUT = 30.0
DEBUG = False
BENCHMARK = os.environ.get("TS_BENCHMARK") in ("True", "true", "TRUE")
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", 0))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", 0))
WORLD_RANK = int(os.environ.get("RANK", 0))
LOCAL_WORLD_SIZE = int(os.environ.get("LOCAL_WORLD_SIZE", 0))


class TorchModelServiceWorker:
    """One socket and the service that is loaded through it. ValueError for arguments that name no socket."""

    def __init__(self, s_type=None, s_name=None, host_addr=None, port_num=None, metrics_config=None, async_comm=False):
        self.sock_type = s_type
        if s_type == "unix":
            if s_name is None:
                raise ValueError("Wrong arguments passed. No socket name given.")
            self.sock_name, self.port = _of_rank(s_name), -1
            if os.path.exists(self.sock_name):
                os.remove(self.sock_name)
        elif s_type == "tcp":
            if port_num is None:
                raise ValueError("Wrong arguments passed. No socket port given.")
            self.sock_name, self.port = host_addr or "127.0.0.1", int(port_num) + LOCAL_RANK
        else:
            raise ValueError("Incomplete data provided")
        logger.info("Listening on %s %s", self.sock_name, "" if self.port < 0 else self.port)
        self.metrics_cache = MetricsCacheYamlImpl(metrics_config or METRICS)
        self.metrics_cache.initialize_cache()
        self.sock = socket.socket(socket.AF_UNIX if s_type == "unix" else socket.AF_INET, socket.SOCK_STREAM)
        self.async_comm = async_comm
        self.service = None

    def load_model(self, load_model_request):
        """(service, message, code) for what retrieve_msg says of a load; the service is None where the driver is to be
        told that it failed. Other exceptions of the handler go through."""
        name = load_model_request["modelName"].decode()
        try:
            service = ModelLoaderFactory.get_model_loader().load(
                name, load_model_request["modelPath"].decode(), (load_model_request.get("handler") or b"").decode() or None,
                load_model_request.get("gpu"), load_model_request.get("batchSize"),
                (load_model_request.get("envelope") or b"").decode() or None,
                load_model_request.get("limitMaxImagePixels", True), self.metrics_cache)
        except (MemoryError, RuntimeError) as error:
            code, message = load_failure(error)
            logger.exception("Load model %s failed: %s", name, error)
            return None, message, code
        return service, "loaded model %s" % name, 200

    def run_server(self):
        """Waits for the driver and serves it; returns or raises SystemExit when it is gone."""
        if self.sock_type == "unix":
            self.sock.bind(self.sock_name)
        else:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((self.sock_name, self.port))
        self.sock.listen(1)
        print("[PID]%d" % os.getpid())
        print("Torch worker started.")
        print("Python runtime: %s" % sys.version.split()[0], flush=True)
        self.sock.settimeout(SOCKET_ACCEPT_TIMEOUT)
        try:
            cl_socket = self.sock.accept()[0]
        except socket.timeout:
            raise RuntimeError("Backend worker did not receive connection in: %d" % SOCKET_ACCEPT_TIMEOUT) from None
        cl_socket.setblocking(True)
        logger.info("Connection accepted: %s.", cl_socket.getsockname())
        try:
            (self.handle_connection_async if self.async_comm else self.handle_connection)(cl_socket)
        finally:
            cl_socket.close()
            if self.sock_type == "unix":
                os.remove(self.sock_name)

    def handle_connection(self, cl_socket):
        """One message after the other, until SystemExit says that the driver is gone."""
        while True:
            command, message = retrieve_msg(cl_socket)
            if command == PREDICT_MSG:
                if self.service is None:
                    raise RuntimeError("Received command: %s, but no model is loaded" % bytes(command))
                _say_received()
                cl_socket.sendall(self.service.predict(message))
            elif command == LOAD_MSG:
                self._load(cl_socket, message)

    def handle_connection_async(self, cl_socket):
        """The load, then batches as they come: each is a call of its own and is answered when it ends."""
        while self.service is None:
            command, message = retrieve_msg(cl_socket)
            if command != LOAD_MSG:
                raise RuntimeError("Received command: %s, but no model is loaded" % bytes(command))
            self._load(cl_socket, message)
        batches = queue.Queue()
        reader = threading.Thread(target=_read, args=(cl_socket, batches), daemon=True)
        reader.start()
        self.service.run_async(batches)

    def _load(self, cl_socket, message):
        service, said, code = self.load_model(message)
        if service is not None:
            service.set_cl_socket(cl_socket)
            self.service = service
        cl_socket.sendall(create_load_model_response(code, said))
        if code != 200:
            raise RuntimeError("%d - %s" % (code, said))


def _of_rank(name):
    """The name with the rank added to the number behind its last dot."""
    stem, dot, number = name.rpartition(".")
    return "%s.%d" % (stem, int(number) + LOCAL_RANK) if dot and number.isdigit() else name


def _say_received():
    logger.info("Backend received inference at: %d", time.time())


def _read(conn, batches):
    """Puts the batches of a connection into a queue, None when there are no more."""
    try:
        while True:
            command, message = retrieve_msg(conn)
            if command == PREDICT_MSG:
                _say_received()
                batches.put(message)
    except (SystemExit, OSError):
        pass
    except ValueError:
        logger.exception("The driver has sent what is no message.")
    batches.put(None)


def main(argv):
    """The process of a worker. Returns its exit code."""
    from ts import log

    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    log.configure()
    args = ArgParser.model_service_worker_args().parse_args(argv)
    worker = None
    try:
        worker = TorchModelServiceWorker(args.sock_type, args.sock_name, args.host, args.port, args.metrics_config,
                                         args.async_comm)
        worker.run_server()
    except SystemExit as end:
        return end.code
    except BaseException:
        logger.exception("Backend worker process died.")
        return 1
    return 0
