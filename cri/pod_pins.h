/*
 * Whether the network namespaces of pods are still pinned, as the kernel's table of mounts tells.
 * Lists and events answer from memory; that memory is kept true here where somebody unmounts what
 * a pod lives by.
 */
#ifndef CRI_POD_PINS_H
#define CRI_POD_PINS_H

struct error;

/* Begins to look; a pod whose namespace goes is not ready within a second or so of it. From the
 * loop's thread, in the mount namespace that the daemon stays in. */
int pod_pins_open(struct error *err);
void pod_pins_close(void); /* also where it was never opened */

#endif
