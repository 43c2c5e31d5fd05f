/*
 * From a url of a registration to a model folder: the model store, folders, file:// and http(s) URLs,
 * extraction of .mar and .tar.gz (docs/contract.md §12).
 *
 * Everything here blocks; it runs on a pool thread, never on a loop. Several calls may run at once, also for
 * the same url.
 */
#ifndef SC_ARCHIVE_ARCHIVE_H
#define SC_ARCHIVE_ARCHIVE_H

#include <stdbool.h>
#include <sys/types.h>

#include "archive/manifest.h"

struct sc_archive_want {
    const char *url;
    const char *store;        /* model_store; NULL: none configured */
    const char *temp;         /* folder in which "models/<32 hex>" is made */
    const char *allowed_urls; /* comma-separated regular expressions, full match, any case (allowed.h) */
    pid_t owner; /* whose life keeps the folder: it has called sc_archive_claim; 0: the caller's */
    bool s3_sse_kms;
    bool workflow; /* a workflow's archive, in the workflow store: .war for .mar, WAR-INF for MAR-INF, no
                      folders */
};

/* Strings are the archive's. */
struct sc_archive {
    char *dir;        /* absolute: the model folder (an extracted one, or a link to one that was found) */
    char *remove;     /* folder to delete when the model goes; NULL: none */
    char *downloaded; /* file in the store that this call fetched; NULL: none */
    char *name;       /* marName: last component of the url, its query dropped */
    bool has_manifest;
    struct sc_manifest manifest;
};

/* What a client is told: status, TorchServe's type and message; and what the log says besides. */
struct sc_archive_error {
    int status;
    const char *type; /* "ModelNotFoundException", ... ; static */
    struct sc_msg msg;
    struct sc_msg cause; /* what exactly is wrong with the archive; may be empty */
};

/* 0, or an error code with *err filled; nothing is left behind then. */
int sc_archive_fetch(struct sc_archive *out, const struct sc_archive_want *want,
                     struct sc_archive_error *err) SC_MUST_USE;
void sc_archive_free(struct sc_archive *a);
/* Deletes a folder that sc_archive_fetch made (others are left alone), and a downloaded file (each may be
 * NULL). Never follows links, never leaves the file system of the folder. */
void sc_archive_remove(const char *folder, const char *downloaded);

/*
 * Folders in temp belong to a process that outlives the frontends: the supervisor. It claims temp once,
 * before the first sc_archive_fetch with its id as `owner`, and keeps the descriptor: a lock that ends with
 * it. A process that fetches for itself (owner 0) claims by itself. Returns the descriptor (close-on-exec),
 * or SC_ESYS with *msg.
 */
int sc_archive_claim(const char *temp, struct sc_msg *msg) SC_MUST_USE;
/* Deletes what an earlier server left in temp: folders whose owner's lock is gone. Folders of living servers,
 * also in other containers that share temp, and what is not ours stay. */
void sc_archive_sweep(const char *temp);

/* The model's name when neither the call nor the manifest gives one (derived from the url's last part). */
char *sc_archive_derived_name(const char *url);

#endif
