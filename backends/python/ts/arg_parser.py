"""The options of the `torchserve` command and of a worker that is started by hand."""
import argparse


class ArgParser:
    """Parsers, for tools that build on them. The command itself is the server's own program."""

    @staticmethod
    def ts_parser():
        """Of `torchserve`."""
        parser = argparse.ArgumentParser(prog="torchserve", description="Serves models of PyTorch")
        does = parser.add_mutually_exclusive_group()
        does.add_argument("-v", "--version", action="store_true", help="show the version")
        does.add_argument("--start", action="store_true", help="start the server")
        does.add_argument("--stop", action="store_true", help="stop the server")
        add = parser.add_argument
        add("--ts-config", help="config.properties of the server")
        add("--model-store", help="folder of the archives")
        add("--workflow-store", help="folder of the workflow archives; default: the model store")
        add("--models", nargs="+", metavar="MODEL", help="models to load: all, or [NAME=]LOCATION, an archive of the store or a URL")
        add("--log-config", help="configuration of the log")
        add("--cpp-log-config", help="configuration of the C++ workers' log")
        add("--foreground", action="store_true", help="stay in the foreground")
        add("--no-config-snapshots", "--ncs", action="store_true", help="neither write nor read snapshots")
        add("--plugins-path", "--ppath", help="folder of plug-ins")
        add("--disable-token-auth", "--dt", dest="token_auth", action="store_true", help="no tokens")
        add("--enable-model-api", dest="model_mode", action="store_true", help="allow to register and unregister models")
        return parser

    @staticmethod
    def model_service_worker_args():
        """Of `model_service_worker.py` for a frontend that speaks TorchServe's protocol."""
        parser = argparse.ArgumentParser(prog="model-server-worker", description="A worker that listens for its frontend")
        parser.add_argument("--sock-type", required=True, dest="sock_type", choices=["unix", "tcp"], help="kind of socket")
        parser.add_argument("--sock-name", dest="sock_name", help="path of a unix socket; ends with .NUMBER")
        parser.add_argument("--host", dest="host", help="address for tcp; default 127.0.0.1")
        parser.add_argument("--port", dest="port", help="port for tcp")
        parser.add_argument("--metrics-config", dest="metrics_config", help="the metrics file")
        parser.add_argument("--async", dest="async_comm", action="store_true", help="requests without order, async handlers")
        return parser

    @staticmethod
    def extract_args(args=None):
        """The options of `torchserve` in `args`, by default the process'; unknown ones are passed over."""
        return ArgParser.ts_parser().parse_known_args(args)[0]
