/* Telling a service manager (systemd's protocol: a datagram to the socket that NOTIFY_SOCKET names). */
#ifndef SC_CLI_NOTIFY_H
#define SC_CLI_NOTIFY_H

/* Sends e.g. "READY=1". Does nothing where nobody asks, or listens; never blocks. */
void sc_notify(const char *state);

#endif
