/*
 * Every bound of the program, in one place, by room. A bound that an operator can change
 * is named after its setting; the value here is then its default or its ceiling.
 */
#ifndef SC_BASE_LIMITS_H
#define SC_BASE_LIMITS_H

/* --- base: log --- */
#define SC_LOG_RING_BYTES (1u << 20) /* lines waiting for the writer thread; more are dropped and counted */
#define SC_LOG_LINE_MAX 8192         /* bytes of one line; the rest is cut */

/* --- proto --- */
#define SC_HTTP_LINE_MAX 4095      /* request line, as TorchServe (http-and-grpc-api §2.2) */
#define SC_HTTP_HEADERS_BYTES 8192 /* all header lines together */
#define SC_HTTP_HEADERS_MAX 100    /* header fields of one request */
#define SC_HTTP_CHUNK_LINE_MAX 256 /* chunk-size line with extensions */
#define SC_HTTP_TRAILER_BYTES 8192
#define SC_JSON_DEPTH_MAX 64 /* nesting of a JSON document */
#define SC_SETTINGS_FILE_BYTES (1u << 20)

/* --- net --- */
#define SC_LOOPS_MAX 16 /* event loops of the frontend */
#define SC_LISTENERS_MAX 8
#define SC_CONNECTIONS_MAX 65536        /* per loop; beyond it new connections are closed at once */
#define SC_CONN_READ_BYTES 16384        /* read buffer of a busy connection */
#define SC_CONN_HEADER_TIMEOUT_MS 60000 /* from the first byte of a request to the end of its headers */
#define SC_CONN_BODY_TIMEOUT_MS 60000   /* without a byte of the body */
#define SC_CONN_WRITE_TIMEOUT_MS 60000  /* without the client taking a byte */
#define SC_REQUEST_BYTES 6553500        /* max_request_size */
#define SC_RESPONSE_BYTES 6553500       /* max_response_size */

/* --- worker --- */
#define SC_RING_ENTRIES 1024            /* of one ring; a power of two */
#define SC_ARENA_BLOCK_MAX (256u << 10) /* larger bodies travel in a memfd of their own */
#define SC_ARENA_BYTES (16u << 20)      /* address space of one arena; pages come when touched */
#define SC_LANES_MAX 64                 /* lanes of one executor */
#define SC_LANE_RUNNING_MAX 1024        /* requests on one lane's running page */
#define SC_SLOTS_MAX 1024               /* worker slots of the supervisor */
#define SC_CTL_BYTES 16384              /* one control message */
#define SC_CTL_FDS 80                   /* descriptors of one control message */
#define SC_STATUS_TEXT 2048             /* text of a worker's status */
#define SC_JOURNAL_BYTES (16u << 20)
#define SC_CONNECT_BACK_MS 30000 /* spawn to connect-back */
#define SC_DRAIN_MS 30000        /* TERM to the end of the last request */
#define SC_STOP_GRACE_MS 5000    /* a worker's time between TERM and KILL */

/* --- model --- */
#define SC_MODEL_NAME_MAX 255
#define SC_MODELS_MAX 1024
#define SC_WORKERS_MAX 256          /* of one model version */
#define SC_JOB_QUEUE_SIZE 100       /* job_queue_size: requests waiting for an archive's workers */
#define SC_QUEUE_BYTES (256u << 20) /* bodies waiting for a native model */
#define SC_BATCH_SIZE_MAX 1024

#endif
