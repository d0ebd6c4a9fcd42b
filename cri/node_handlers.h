/*
 * node_handlers: the node's runtime handlers, as node.c opens and closes them. What others ask of
 * them is in node.h.
 */
#ifndef CRISP_CRI_NODE_HANDLERS_H
#define CRISP_CRI_NODE_HANDLERS_H

/* Fills node.handlers from the configuration, and has them probed when the loop runs. */
void node_handlers_open(void);
void node_handlers_close(void);

#endif
