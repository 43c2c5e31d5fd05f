#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *sc_strerror(int code)
{
    switch ((enum sc_error)code) {
    case SC_OK: return "ok";
    case SC_AGAIN: return "try again";
    case SC_EINVAL: return "malformed input";
    case SC_ELIMIT: return "limit exceeded";
    case SC_ENOMEM: return "out of memory";
    case SC_ENOTFOUND: return "not found";
    case SC_EEXIST: return "exists already";
    case SC_EUNSUPPORTED: return "not supported";
    case SC_ETIMEOUT: return "timed out";
    case SC_EGIVEUP: return "given up";
    case SC_ECANCELED: return "cancelled";
    case SC_ECONN_BASE: break;
    case SC_ECLOSED: return "closed by the other side";
    case SC_EPROTO: return "protocol broken by the other side";
    case SC_EPEER_BASE: break;
    case SC_EPEER: return "worker broke the channel's rules";
    case SC_ESYS: return "system call failed";
    case SC_EVERSION: return "version mismatch";
    }
    return code > 0 ? "ok" : "unknown error";
}

int sc_fail(struct sc_msg *m, int code, const char *fmt, ...)
{
    if (m) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(m->text, sizeof m->text, fmt, ap);
        va_end(ap);
    }
    return code;
}
