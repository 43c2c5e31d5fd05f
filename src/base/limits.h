/*
 * Every bound of the program, in one place, by room. A bound that an operator can change
 * is named after its setting; the value here is then its default or its ceiling.
 */
#ifndef SC_BASE_LIMITS_H
#define SC_BASE_LIMITS_H

/* --- base: log --- */
#define SC_LOG_RING_BYTES (2u << 20)   /* lines waiting for the writer thread; more are dropped and counted */
#define SC_LOG_LINE_MAX 8192           /* bytes of one line; the rest is cut */
#define SC_LOG_FILE_BYTES (100u << 20) /* a log file is rolled over beyond this */
#define SC_LOG_ROLLED_MAX 100          /* files of one name and day that are kept */

/* --- proto --- */
#define SC_HTTP_LINE_MAX 4095      /* request line, as TorchServe (docs/contract.md §2.2) */
#define SC_HTTP_HEADERS_BYTES 8192 /* all header lines together */
#define SC_HTTP_HEADERS_MAX 100    /* header fields of one request */
#define SC_HTTP_CHUNK_LINE_MAX 256 /* chunk-size line with extensions */
#define SC_HTTP_TRAILER_BYTES 8192
#define SC_JSON_DEPTH_MAX 64     /* nesting of a JSON document */
#define SC_QUERY_PARAMS_MAX 1024 /* parameters of a query; more are ignored, as by TorchServe */
#define SC_FORM_PARTS_MAX 1024   /* fields of a form, parts of a multipart body */
#define SC_FORM_PART_HEADERS_BYTES 8192
#define SC_FORM_BOUNDARY_MAX 200
#define SC_TENSOR_RANK_MAX 32 /* sizes in the shape of a tensor */
#define SC_TENSOR_ELEMENTS_MAX (1ull << 40)
#define SC_TENSORS_MAX 256              /* inputs, or requested outputs, of one call */
#define SC_V2_ANSWER_BYTES (64u << 20)  /* an answer of tensors as JSON */
#define SC_DESCRIPTION_BYTES (1u << 20) /* an OpenAPI document */
#define SC_PROTOBUF_FREE (1u << 20)     /* memory of an unpacked message, and for each of its bytes: */
#define SC_PROTOBUF_RATIO_MAX 16
#define SC_SETTINGS_FILE_BYTES (16u << 20) /* a snapshot of SC_MODELS_MAX models is one */
#define SC_SETTINGS_KEYS_MAX 4096

#define SC_H2_STREAMS_MAX 128          /* open streams of one HTTP/2 connection */
#define SC_H2_STREAM_WINDOW (1u << 20) /* bytes of a stream's body that its client may send ahead */
#define SC_H2_CONN_WINDOW (16u << 20)  /* ... of all streams of a connection */
#define SC_H2_BLOCK_BYTES 65536        /* one block of headers, compressed, with its continuations */
#define SC_H2_ANSWER_FIELDS_MAX 256    /* header fields of an answer */
#define SC_H2_SETTINGS_BYTES 256       /* HTTP2-Settings of an upgrade */
#define SC_H2_PATIENCE 1000            /* frames that bring nothing, ... */
#define SC_H2_PATIENCE_PER_S 200       /* ... and how many more each second */

/* --- net --- */
#define SC_LOOPS_MAX 16       /* event loops of the frontend */
#define SC_LOOPS_CHOSEN_MAX 8 /* of its own choice: half of the CPUs, more gained nothing */
#define SC_LISTENERS_MAX 8
#define SC_CONNECTIONS_MAX 65536         /* per loop; beyond it new connections are closed at once */
#define SC_CONN_READ_BYTES 16384         /* read buffer of a busy connection */
#define SC_CONN_HEADER_TIMEOUT_MS 60000  /* from the first byte of a request to the end of its headers */
#define SC_CONN_BODY_TIMEOUT_MS 60000    /* without a byte of the body */
#define SC_CONN_WRITE_TIMEOUT_MS 60000   /* without the client taking a byte */
#define SC_CONN_LINGER_MS 2000           /* for the client to read the last answer before the close */
#define SC_CONN_STREAM_BYTES (16u << 20) /* waiting bytes of a streamed answer; more chunks are refused */
#define SC_CONN_WRITE_BYTES (256u << 10) /* of one connection before another has its turn */
#define SC_CONN_SPARE_BLOCKS 64          /* read buffers kept per loop */
#define SC_HTTP_RESPONSE_HEAD_MAX 65536  /* status line and headers of an answer */
#define SC_TLS_RETRY_MS 5000             /* between two tries to read a certificate that cannot be read */
#define SC_ACCEPT_BURST 64               /* connections accepted before others get their turn */
#define SC_ACCEPT_PAUSE_MS 100           /* after accept failed for want of resources */
#define SC_REQUEST_BYTES 6553500         /* max_request_size */
#define SC_RESPONSE_BYTES 6553500        /* max_response_size */

/* --- archive --- */
#define SC_ARCHIVE_URL_MAX 8192           /* bytes of a url */
#define SC_ARCHIVE_PATTERN_MAX 1024       /* bytes of one pattern of allowed_urls */
#define SC_ARCHIVE_NAME_MAX 1024          /* bytes of an entry's name */
#define SC_ARCHIVE_DEPTH_MAX 32           /* folders in it */
#define SC_ARCHIVE_ENTRIES_MAX 200000     /* entries of one archive */
#define SC_ARCHIVE_BYTES_MAX (1ull << 40) /* unpacked, or downloaded */
#define SC_ARCHIVE_RATIO_MAX 200 /* unpacked bytes for one of the archive, once more is unpacked than: */
#define SC_ARCHIVE_RATIO_FREE (256u << 20)
#define SC_ARCHIVE_DISK_RESERVE (32u << 20) /* free space that unpacking and downloading leave */
#define SC_ARCHIVE_REDIRECTS_MAX 10
#define SC_ARCHIVE_CONNECT_S 30
#define SC_ARCHIVE_STALL_S 60 /* a download without a byte for so long has failed */
#define SC_MANIFEST_BYTES (1u << 20)

/* --- worker --- */
#define SC_RING_ENTRIES 1024             /* of one ring; a power of two */
#define SC_ARENA_BLOCK_MIN 256           /* smallest block, and the grain in which blocks are checked */
#define SC_ARENA_BLOCK_MAX (2u << 20)    /* larger bodies travel in a memfd of their own */
#define SC_ARENA_BYTES (64u << 20)       /* address space of one arena; pages come when touched */
#define SC_ANSWER_META_BYTES (16u << 10) /* metadata of one answer */
#define SC_CHAN_HELD_MAX 4096 /* answers of one channel sent and not yet released; a power of two */
#define SC_CHAN_LARGE_MAX 256 /* of them, those in a memfd of their own */
#define SC_LANES_MAX 64       /* lanes of one executor */
#define SC_PRIORITY_NS (INT64_C(1000000000)) /* that a request of high priority is treated as older */
#define SC_LOOPS_APART_NS (INT64_C(2000000)) /* of age, until a loop makes way for another (shard.c) */
#define SC_LOOPS_WAIT_NS (INT64_C(5000000))  /* for a loop that is told of credit */
#define SC_LANE_RUNNING_MAX 1024             /* requests on one lane's running page */
#define SC_SLOTS_MAX 1024                    /* worker slots of the supervisor */
#define SC_CTL_BYTES 16384                   /* one control message */
#define SC_CTL_FDS (4 + 5 * SC_LOOPS_MAX)    /* of one control message: a board, a channel per loop */
#define SC_CTL_TAG_MAX 1024                  /* a slot's tag */
#define SC_CTL_QUEUE_BYTES (4u << 20) /* messages waiting for a peer that does not read; more ends it */
#define SC_CTL_QUEUE_FDS 320          /* descriptors in them */
#define SC_KEPT_MAX 512               /* descriptors that the supervisor keeps for workers */
#define SC_KEPT_NAME_MAX 64           /* their names, with the end */
#define SC_KEPT_ANSWER_MS 5000        /* a worker that asks for one waits so long */
#define SC_CTL_STRANGERS_MAX 32       /* connections that have not said hello; one more closes the oldest */
#define SC_CTL_HELLO_MS 5000          /* connection to hello */
#define SC_STATUS_TEXT 2048           /* text of a worker's status */
#define SC_STATUS_MAX 64 /* statuses of one life; they are passed on, and the frontend must keep up */
#define SC_OUTPUT_PIPE_BYTES (256 << 10) /* of a worker's output, while the frontend is busy or dead */
#define SC_JOURNAL_BYTES (64u << 20)     /* two halves; pages come when they are touched */
#define SC_CONNECT_BACK_MS 30000         /* spawn to connect-back */
#define SC_LAUNCH_BACK_MS 120000         /* the same below a launcher, for all ranks */
#define SC_CPU_LAUNCHER_MS 60000         /* its trial, at the start */
#define SC_RANKS_MAX 64                  /* processes of one worker */
#define SC_RANK_GRACE_MS                                                                                    \
    300                       /* a launcher's time to say how its rank ended, before all of them are killed \
                               */
#define SC_DRAIN_MS 30000     /* TERM to the end of the last request */
#define SC_STOP_GRACE_MS 5000 /* a worker's time between TERM and KILL */
#define SC_BACKOFF_SETTLED_MS 1000    /* a worker that was loaded for so long is restarted at once */
#define SC_FRONTEND_SETTLED_MS 10000  /* a frontend that was ready for so long has no failures behind it */
#define SC_FRONTEND_DELAY_MAX_MS 5000 /* between two lives of a frontend that keeps failing */

/* --- gpu --- */
#define SC_GPUS_MAX 64                 /* of a host; more are not seen */
#define SC_GPU_PROCESSES_MAX 256       /* listed in one report; more are left out */
#define SC_GPU_INSTANCES_MAX 56        /* of MIG, on all GPUs; more are left out */
#define SC_GPU_LINE_BYTES (128u << 10) /* one line of the agent */
#define SC_GPU_LOOK_MS 10000           /* for the driver to tell a person how the GPUs are */
#define SC_GPU_INTERVAL_MS 1000        /* between two lines */
#define SC_GPU_STALL_MS 2500           /* without a report the driver is held to be stalled */
#define SC_GPU_STALL_MAX_MS 120000     /* of a stall, for which time limits of workers wait; 49 s were seen */
#define SC_MPS_CLIENTS_MAX 48          /* of one MPS server, as the driver has it */
#define SC_MPS_END_MS 1500     /* for a keeper to take a client off the GPU; then it is signalled anyway */
#define SC_MPS_LOOK_MS 1000    /* between two looks at a daemon */
#define SC_MPS_ASK_MS 10000    /* for a daemon to answer a command */
#define SC_MPS_START_MS 30000  /* for a daemon to come up */
#define SC_MPS_AWAIT_MS 3000   /* for which a worker waits for one that is started again */
#define SC_MPS_DECIDE_MS 10000 /* for the gpu agent's first report, which the choice waits for */
#define SC_GPU_COUNT_MS 20000  /* for the driver to say how many GPUs there are */
#define SC_GPU_FACTS_MS 2000   /* a worker waits for the first report, to know whether there is room for it */
#define SC_GPU_ROOM_MS 60000   /* ... and for room that workers leave which are ending */
#define SC_GPU_LEAST_BYTES (INT64_C(128) << 20) /* with less free no CUDA context is made */
#define SC_GPU_CONTEXT_BYTES \
    (INT64_C(520) << 20)              /* of a process, measured; what a worker is guessed to take */
#define SC_TUNE_FILE_BYTES (1u << 20) /* what tune has measured */
#define SC_TUNE_ENTRIES_MAX 1024
#define SC_TUNE_BRANCHES_MAX 512        /* configurations of one search */
#define SC_TUNE_POINTS_MAX 16           /* numbers of requests at once under which each is measured */
#define SC_TUNE_RUNS_MAX 60             /* of a point */
#define SC_TUNE_STATE_BYTES (64u << 20) /* the file of a search */

/* --- metrics --- */
#define SC_METRIC_LABELS_MAX 16
#define SC_METRIC_SERIES_MAX 4096             /* of one family; more are not recorded */
#define SC_METRIC_FAMILIES_MAX 1024           /* declared, or found in the lines of workers */
#define SC_METRIC_VALUE_MAX 64                /* bytes of the value in a worker's metric line */
#define SC_METRICS_FILE_BYTES (1u << 20)      /* metrics_config */
#define SC_METRICS_COLLECTOR_MS 30000         /* time of one run of system_metrics_cmd */
#define SC_METRICS_COLLECTOR_BYTES (1u << 20) /* its output */
#define SC_METRICS_TEXT_BYTES (256u << 20)    /* of a scrape: some 30,000 models */
#define SC_TRACE_STATE_BYTES 512              /* of a tracestate that is passed on */
#define SC_SPANS_QUEUE_MAX 65536              /* spans that wait for a collector, whatever is asked for */
#define SC_SPANS_BODY_BYTES (64u << 20)       /* of a request to it */
#define SC_SPANS_RETRY_MS 60000               /* how long a batch is tried again */
#define SC_SPANS_END_MS 2000                  /* at the end of the server */

/* --- model --- */
#define SC_MODEL_NAME_MAX 255
#define SC_MODELS_MAX 16384         /* names; measured with 5,000 */
#define SC_SPEC_EXTRAS_MAX 64       /* settings of a model for its backend */
#define SC_SPEC_EXTRAS_BYTES 8192   /* all of them: they go through one control message (SC_CTL_BYTES) */
#define SC_SPEC_EXTRA_BYTES 3072    /* one of them */
#define SC_WORKERS_MAX 256          /* of one model version */
#define SC_GROUP_NAME_MAX 64        /* bytes of an executorGroup */
#define SC_GROUP_FAULTS_MAX 3       /* of a model; then it has an executor of its own */
#define SC_KEPT_BYTES 65536         /* of one thing kept for the next frontend (sc_engine_keep) */
#define SC_JOB_QUEUE_SIZE 100       /* job_queue_size: requests waiting for an archive's workers */
#define SC_QUEUE_BYTES (256u << 20) /* bodies waiting for a native model */
#define SC_BATCH_SIZE_MAX 1024
#define SC_ASYNC_REQUESTS_MAX 1024 /* that a worker of coroutines (asyncCommunication) has at once */
#define SC_DEVICES_MAX 64          /* deviceIds of a model */
#define SC_SEQUENCES_MAX 65536     /* open sequences of a model version: the ceiling of maxNumSequence */
#define SC_SEQUENCE_QUEUE_MAX 1024 /* ceiling of maxSequenceJobQueueSize */
#define SC_SEQUENCE_ID_MAX 512     /* bytes of a sequence's id */
#define SC_SEQUENCE_IDLE_MS 600000 /* sequenceMaxIdleMSec of a model that sets none */
#define SC_WORKFLOWS_MAX 256
#define SC_WORKFLOW_NODES_MAX 64    /* of one workflow: bits of a word */
#define SC_WORKFLOW_RETRIES_MAX 100 /* retry-attempts of a node */
#define SC_WORKFLOW_SPEC_BYTES (64u << 10)
#define SC_OUTPUT_LINE_BYTES 65536 /* of a worker's output: one line; longer ones come in pieces */
#define SC_OUTPUT_TURN_BYTES 16384 /* read in one turn of the loop */
#define SC_OUTPUT_TAIL_BYTES 2048  /* kept of its text */
#define SC_OUTPUT_PARTIAL_MS 1000  /* text without a newline is logged after so long */
#define SC_OUTPUT_PATIENCE_MS 1000 /* reading waits for a log that is behind, at most */

/* --- load --- */
#define SC_LOAD_HEAD_BYTES (64u << 10)     /* head of a request */
#define SC_LOAD_ANSWER_BYTES (16u << 20)   /* of a body that is looked at as a whole */
#define SC_LOAD_PAYLOAD_BYTES (256u << 20) /* files of bodies */
#define SC_LOAD_PAYLOADS_MAX (1u << 20)    /* bodies */
#define SC_LOAD_RANDOM_BODIES 256          /* different random bodies over HTTP/2 */
#define SC_LOAD_CONNECTIONS_MAX (1u << 20)
#define SC_LOAD_THREADS_MAX 256
#define SC_LOAD_STREAMS_MAX 1024 /* on one connection */
#define SC_LOAD_WORDS_MAX 100000 /* of one made-up text */
#define SC_LOAD_TEXTS 1024       /* made up, taken in turn */
#define SC_LOAD_RUNS_MAX 1000
#define SC_LOAD_SAMPLES_MAX 2048 /* of GPUs and host in one report; then every second one is dropped */
#define SC_LOAD_METRICS_MAX 512  /* of the server, in one report */

/* --- cli --- */
#define SC_CLI_ANSWER_BYTES (16u << 20) /* what a command prints */

/* --- encoder (backend) --- */
#define SC_ENCODER_CONFIG_BYTES (4u << 20) /* config.json */
#define SC_ENCODER_HEADER_BYTES (4u << 20) /* header of model.safetensors */
#define SC_ENCODER_TENSOR_DIMS 8
#define SC_ENCODER_HIDDEN_MAX 16384
#define SC_ENCODER_LAYERS_MAX 256
#define SC_ENCODER_HEADS_MAX 1024
#define SC_ENCODER_INTERMEDIATE_MAX 65536
#define SC_ENCODER_VOCAB_MAX (8u << 20)
#define SC_ENCODER_POSITIONS_MAX 65536
#define SC_ENCODER_TYPES_MAX 256 /* segments: a token's type is a byte */
#define SC_ENCODER_LABELS_MAX 65536
#define SC_ENCODER_SHARDS_MAX 256    /* files that model.safetensors.index.json lists */
#define SC_ENCODER_MODULES_MAX 16    /* of sentence-transformers' modules.json */
#define SC_ENCODER_DENSE_MAX 4       /* Dense modules among them */
#define SC_ENCODER_TEXTS 1024        /* maxTexts: texts of one request */
#define SC_ENCODER_TEXTS_MAX 1000000 /* its ceiling */
#define SC_LITERAL_DEPTH_MAX 200     /* containers in a Python literal: CPython has the same limit */
#define SC_ENCODER_NAMES_MAX 1024    /* targets or ignore_labels of one request */
#define SC_ENCODER_NAMES_TEXT "1024"
#define SC_ENCODER_ANSWERS_MAX 100         /* top_k of a question */
#define SC_ENCODER_ANSWER_BYTES (1u << 30) /* one answer, before max_response_size */
#define SC_ENCODER_FILLED_MAX (4u << 20)   /* answers for all masks of one request */
#define SC_ENCODER_PROMPTS_MAX 64          /* prompts of a model */
#define SC_ENCODER_BATCH_TOKENS 1024       /* maxBatchTokens: tokens computed together */
#define SC_ENCODER_BATCH_TOKENS_GPU \
    16384 /* the same where a GPU computes, which more than that hardly speeds up */
#define SC_ENCODER_BATCH_TOKENS_MAX 65536   /* its ceiling */
#define SC_ENCODER_PRODUCT_CLASSES 24       /* GPU: kinds of matrix products in one model */
#define SC_ENCODER_ALGORITHMS_MAX 4096      /* in one cache file */
#define SC_ENCODER_GRAPHS 64                /* kept by a lane */
#define SC_ENCODER_GRAPH_TOKENS 1024        /* batches up to this size are captured */
#define SC_TOKENIZER_FILE_BYTES (24u << 20) /* tokenizer.json, vocab.txt, tokenizer_config.json */
#define SC_TOKENIZER_VOCAB_MAX (1u << 20)
#define SC_TOKENIZER_WORD_MAX 1024         /* max_input_chars_per_word */
#define SC_TOKENIZER_LENGTH_MAX (1u << 20) /* ids of one encoding */
#define SC_TOKENIZER_ADDED_MAX 4096        /* added_tokens */
#define SC_TOKENIZER_ADDED_BYTES 512       /* text of one of them */
#define SC_TOKENIZER_PIECES_MAX 16         /* of a post-processor's template */
#define SC_TOKENIZER_STEPS_MAX 16          /* normalizers, pre-tokenizers, post-processors: each */
#define SC_TOKENIZER_NESTED_MAX 8          /* Sequences in Sequences */
#define SC_TOKENIZER_PATTERN_CHARS 16      /* characters and ranges of a pattern's class */
#define SC_TOKENIZER_AFFIX_MAX 64 /* bytes of a subword's prefix or suffix, of what Replace puts in */
#define SC_TOKENIZER_MERGES_MAX (1u << 20)
#define SC_TOKENIZER_PROBES_MAX 512       /* of the merges' table; honest ones need a few dozen */
#define SC_TOKENIZER_TEXT_MAX (1u << 28)  /* bytes of a text */
#define SC_TOKENIZER_WORK_KEPT (1u << 20) /* of each buffer that a long text made large */
#define SC_TRIE_NODES_MAX (4u << 20)

#endif
