/*
 * clients: the monitor's socket and who is connected to it.
 *
 * Nobody is waited for: a client whose socket is full is dropped.
 */
#ifndef CRISP_CONMON_CLIENTS_H
#define CRISP_CONMON_CLIENTS_H

#include <stdbool.h>

#include "conmon/protocol.h"

struct clients {
        int listener;
        int fds[MONITOR_CLIENTS_MAX]; /* -1: free */
};

void clients_init(struct clients *clients);

/* Listens at path, of any length. Returns 0 or a negative errno. */
int clients_listen(struct clients *clients, const char *path);

/* Accepts one connection. Returns its index, or -1: none came, or all places are taken and it was
 * closed. */
int clients_accept(struct clients *clients);

/* Descriptors that came with a request; whoever has them closes them. */
struct clients_fds {
        int fds[MONITOR_ATTACH_FDS];
        unsigned count;
};

/*
 * Receives one request. False where there is none to answer: nothing came, or the client is gone,
 * or it sent something that is no message and was dropped. Then there are no descriptors.
 */
bool clients_receive(struct clients *clients, unsigned index, struct monitor_message *request,
                     struct clients_fds *fds);

/* Sends the message, with the version filled in, or drops the client. */
void clients_send(struct clients *clients, unsigned index, struct monitor_message *message);
void clients_send_all(struct clients *clients, struct monitor_message *message);

void clients_close(struct clients *clients);

#endif
