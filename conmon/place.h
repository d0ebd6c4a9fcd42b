/*
 * place: unix sockets whose paths are longer than sockaddr_un takes (107 bytes).
 *
 * Such a path is reached through a descriptor of its folder: /proc/self/fd/N/name.
 */
#ifndef CRISP_CONMON_PLACE_H
#define CRISP_CONMON_PLACE_H

#include <sys/socket.h>
#include <sys/un.h>

/*
 * Makes a listening socket (close-on-exec, non-blocking) at path, with mode 0600; one that was
 * there is replaced. Where the path is too long *folder becomes a descriptor of its folder, through
 * which address (that names this process by its pid, so that others can use it) leads: keep it open
 * while others connect by address; otherwise it is -1. address may be null. Returns the socket or
 * a negative errno.
 */
int place_listen(const char *path, int type, int backlog, struct sockaddr_un *address, int *folder);

#endif
