"""What differs from TorchServe on purpose. Every entry has its line in docs/compatibility.md.

suite, case, field: patterns of file names; torchserve, sconce: what each says there, a regular expression (of bodies of
several lines: of the lines that differ) or a value. Left out: anything."""

WORKER_IDS = r'^"id": "\d+",(\n"id": "\d+",)*$'
# Asked at once after a start, workers may be ready or not, on either server.
WORKERS_SO_FAR = r'^("(id|status)": "(\d+|UNLOADING|READY)",?\n?)+$'

KNOWN = [
    # archives
    {"suite": "archives", "case": "absolute.mar: *", "field": "*", "why": "entries with an absolute path are refused"},
    {"suite": "archives", "case": "manifest_empty.mar: register", "field": "*",
     "why": "a manifest without a model is refused as such"},
    {"suite": "archives", "case": "manifest_model_null.mar: register", "field": "*",
     "why": "a manifest without a model is refused as such"},
    # the open inference protocol, switched on, is more of KServe's than TorchServe has
    *({"suite": "open_inference", "case": f"inference: GET {path}", "field": "*", "why": "KServe's routes of metadata and versions"}
      for path in ("/v2/models/probe", "/v2/models/probe/ready", "/v2/models/probe/versions/1.0/infer", "/v2/repository/index", "/v1/models")),
    # a registration that failed leaves nothing
    {"suite": "loads", "case": "init_*: describe", "field": "*", "why": "a model that failed to load is unregistered"},
    # messages that go on where TorchServe's end, or are the Java runtime's
    {"suite": "management", "case": "register with broken json", "field": "body", "torchserve": "java.io",
     "why": "messages of the Java runtime"},
    {"suite": "management", "case": "json*", "field": "body", "torchserve": r"java\.lang|Cannot invoke", "why": "messages of the Java runtime"},
    {"suite": "rows", "case": "form, empty *", "field": "body", "torchserve": r"java\.lang.*empty name", "sconce": "empty name",
     "why": "messages of the Java runtime"},
    {"suite": "starts", "case": "address *", "field": "says", "sconce": r"^Invalid configuration: Invalid .*\(config",
     "why": "messages say which line and key"},
    {"suite": "starts", "case": "bad black list", "field": "says", "sconce": r"^Invalid configuration: .*\(config",
     "why": "messages say which line and key"},
    {"suite": "starts", "case": "models that is no json", "field": "says", "torchserve": "MalformedJsonException",
     "sconce": r"^Invalid configuration: Invalid JSON", "why": "messages of the Java runtime"},
    {"suite": "starts", "case": "model *", "field": "says", "sconce": r"^Failed to load model: \w+\.mar:$",
     "why": "the reason stands in the line; blanks around names do not count"},
    {"suite": "named", "case": "what failed", "field": "lines.0", "sconce": r"Failed to load model: absent\.mar: Model not",
     "why": "the reason stands in the line"},
    {"suite": "starts", "case": "number that is none", "field": "*", "why": "a bad number is refused at the start"},
    # a text that is no Unicode kills TorchServe's worker
    {"suite": "results", "case": "surrogate", "field": "*", "why": "what cannot be sent costs an answer, not the worker"},
    # the call's time limits, then the file's
    {"suite": "management", "case": "describe yaml", "field": "body", "torchserve": r'^"responseTimeout": 11,$',
     "sconce": r'^"responseTimeout": 99,$', "why": "a registration's own time limits beat model-config.yaml"},
    # workers that TorchServe loses
    {"suite": "deaths", "case": "SIGTERM", "field": "*", "why": "SIGTERM ends a worker in order: its batch is answered first"},
    {"suite": "deaths", "case": "header that is no text", "field": "*", "why": "header values are made text"},
    # settings that the command line overrides are not looked at
    {"suite": "starts", "case": "unset variable", "field": "*", "why": "the command line overrides it before it is expanded"},
    # numbers of workers
    {"suite": "snapshots", "case": "restored *", "field": "body", "torchserve": WORKERS_SO_FAR, "sconce": WORKERS_SO_FAR,
     "why": "models start in order, not in that of a hash table"},
    {"suite": "examples", "case": "*: describe", "field": "body", "torchserve": WORKER_IDS, "sconce": WORKER_IDS,
     "why": "models start in order, not in that of a folder"},
    # modes
    {"suite": "metrics", "case": "names", "field": "body", "torchserve": "done", "sconce": "MetricsCacheTypeError",
     "why": "names of dimensions are checked"},
    {"suite": "envelope_json", "case": "no instances", "field": "body", "torchserve": "Prediction failed",
     "sconce": "number of batch response mismatched", "why": "the same status, what is wrong in its message"},
    *({"suite": "dependencies", "case": f"{model}: {case}", "field": "*", "why": "a registration that failed leaves nothing"}
      for model in ("unresolved", "malformed", "file_missing") for case in ("predict", "describe")),
    {"suite": "streams", "case": "status of an error before the first part", "field": "*",
     "why": "a stream with the status of an error is not cut behind its head"},
    {"suite": "descriptions", "case": "rows", "field": "body", "torchserve": r'^"Host": "localhost",$', "sconce": r'^"Host": "localhost",$',
     "why": "a handler finds request headers in the order in which they came"},
    {"suite": "micro_raise", "case": "one raises", "field": "*", "why": "MicroBatching does not hang when a step raises"},
    {"suite": "continuous", "case": "one turn", "field": "*", "why": "a stream of one answer has a head"},
    # workflows
    *({"suite": "workflows_bad", "case": f"register {file}.war", "field": "body",
       "torchserve": r'NullPointerException|ClassCastException|NoSuchFileException|ZipException|IOException|Check error logs',
       "sconce": sconce, "why": "messages of the Java runtime; a bad specification is told as such"}
      for sconce, files in (
          (r"InvalidWorkflowException.*\n.*(no map called|should be|has no url|cannot be read|is not defined)",
           ("no_dag", "no_models", "no_list", "null_list", "number_node", "list_spec", "empty_spec", "text_number", "text_number2",
            "no_url", "scalar_model", "absent_spec", "no_spec_named", "no_handler_named")),
          ("InternalServerException.*\n.*Failed to save workflow", ("cut", "escapes"))) for file in files),
    {"suite": "workflows_bad", "case": "register other_suffix.zip", "field": "body", "torchserve": "not in the .gz format",
     "sconce": "Failed to save workflow", "why": "messages of the Java runtime"},
    {"suite": "workflows_bad", "case": "register broken_yaml.war", "field": "body", "sconce": "Failed to parse yaml. spec.yaml:2",
     "why": "messages go on with what is wrong"},
    {"suite": "workflows", "case": "what * gets", "field": "body", "torchserve": "x-mine", "sconce": "x-mine",
     "why": "a handler finds request headers in the order in which they came"},
    {"suite": "workflows", "case": "* json", "field": "body", "torchserve": "java.io|registerWFRequest",
     "why": "messages of the Java runtime"},
    {"suite": "workflows", "case": "describe a function", "field": "body", "torchserve": WORKER_IDS, "sconce": WORKER_IDS,
     "why": "nodes start in order, not in that of a hash table"},
    {"suite": "workflows", "case": "a leaf that is no object", "field": "body", "torchserve": "JsonReader", "sconce": "Not a JSON Object",
     "why": "messages of the Java runtime"},
    {"suite": "workflows", "case": "remove what is left", "field": "*", "why": "a model that is gone does not keep its workflow"},
    # gRPC
    {"suite": "grpc", "case": "stream of one answer", "field": "*", "why": "a stream of one answer is whole; the worker lives"},
    {"suite": "grpc_management", "case": "register again", "field": "details", "torchserve": "",
     "why": "the same code, and why"},
    {"suite": "grpc_management", "case": "remove the default version", "field": "details", "torchserve": "",
     "why": "the same code, and why"},
    {"suite": "grpc_open", "case": "unsigned beyond the signed", "field": "*",
     "why": "unsigned numbers are not wrapped"},
    {"suite": "grpc_open", "case": "incomplete answer", "field": "details", "torchserve": "Worker died.", "sconce": "the answer has no outputs",
     "why": "an answer that cannot be read costs that answer, not the worker"},
    # not there yet
]
