/*
 * From a url of a registration to a model folder: the model store, folders, file:// and http(s) URLs,
 * extraction of .mar and .tar.gz (docs/contract.md, archives).
 *
 * Everything here blocks; it runs on a pool thread, never on a loop. Several calls may run at once, also for
 * the same url.
 */
#ifndef SC_ARCHIVE_ARCHIVE_H
#define SC_ARCHIVE_ARCHIVE_H

#include <stdbool.h>

#include "archive/manifest.h"

struct sc_archive_want {
    const char *url;
    const char *store;        /* model_store; NULL: none configured */
    const char *temp;         /* folder in which "models/<32 hex>" is made */
    const char *allowed_urls; /* comma-separated extended regular expressions, full match, any case */
    bool s3_sse_kms;
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

/* What a client is told: status, TorchServe's type, message. */
struct sc_archive_error {
    int status;
    const char *type; /* "ModelNotFoundException", ... ; static */
    struct sc_msg msg;
};

/* 0, or an error code with *err filled; nothing is left behind then. */
int sc_archive_fetch(struct sc_archive *out, const struct sc_archive_want *want,
                     struct sc_archive_error *err) SC_MUST_USE;
void sc_archive_free(struct sc_archive *a);
/* Deletes a folder that sc_archive_fetch made, and a downloaded file (each may be NULL). Never follows links,
 * never leaves the file system of the folder. */
void sc_archive_remove(const char *folder, const char *downloaded);
/* Deletes what an earlier server left in temp and no process uses any more. */
void sc_archive_sweep(const char *temp);

/* The model's name when neither the call nor the manifest gives one (derived from the url's last part). */
char *sc_archive_derived_name(const char *url);

#endif
