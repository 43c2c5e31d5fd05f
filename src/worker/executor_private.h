/* What the executor's files share. */
#ifndef SC_WORKER_EXECUTOR_PRIVATE_H
#define SC_WORKER_EXECUTOR_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/error.h"
#include "sconce/backend.h"
#include "worker/channel.h"

/* A port with the count of those who use it: the attachment and every request that came by it. */
struct sc_port_ref {
    struct sc_port *port;
    atomic_uint refs;
};

struct sconce_request {
    struct sconce_request *next;
    struct sc_port_ref *ref;
    struct sc_work work;
    struct sc_answer answer;
    bool reserved, answered, prepared;
    void *data;
    uint64_t cost;
    char content_type[96];
};

struct sconce_host {
    const char *model, *version, *dir, *backend_dir;
    unsigned lanes;
    uint64_t max_response;
};

struct sc_request_list {
    struct sconce_request *head, **tail;
    size_t n;
};

struct sc_executor {
    struct sconce_host host;
    const struct sconce_backend_ops *ops;
    struct sconce_model *model;
    struct sconce_model_info info;
    uint32_t batch_size;
    int64_t batch_delay_ns;
    bool fill;
    int64_t spin_ns; /* how long a lane looks at the rings before it sleeps; 0 where there is one CPU */

    pthread_mutex_t lock;
    pthread_cond_t wake;        /* lanes wait here while another one polls */
    struct sc_port_ref *port;   /* the present attachment; NULL before the first */
    struct sc_request_list raw; /* taken from the rings, in order of arrival */
    struct sconce_request *pool;
    unsigned idle; /* lanes that wait for work, the poller included */
    bool polling;  /* a lane sleeps on the port's descriptor */
    bool filling;  /* a lane waits for its batch to fill */
    bool stopping;
    int kick_fd; /* eventfd: makes the polling lane look at port and stopping */
    struct sc_lane_thread *threads;
};

struct sc_lane_thread {
    struct sc_executor *ex;
    unsigned index;
    pthread_t thread;
    bool started;
    struct sconce_lane *lane;
    struct sconce_request *batch[SC_BATCH_SIZE_MAX];
    uint64_t ids[SC_BATCH_SIZE_MAX];
};

/* Makes the lanes and starts their threads. An error names the lane. */
int sc_lanes_start(struct sc_executor *ex, struct sc_msg *msg);
/* Stops the threads after the batch they are in and destroys the lanes. */
void sc_lanes_stop(struct sc_executor *ex);
/* Replaces the attachment (NULL: none). Takes over the port. SC_ENOMEM: the port is deleted. */
int sc_lanes_attach(struct sc_executor *ex, struct sc_port *port);

void sc_port_ref_put(struct sc_port_ref *ref);
/* Answers with an error text unless answered already. */
void sc_request_fail(struct sconce_request *r, unsigned status, const char *type, const char *text);

#endif
