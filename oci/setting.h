/*
 * setting: values of the machine that are changed for a container and put back after it.
 *
 * What was before is kept in FOLDER/OWNER/NAME before anything is changed, so that whoever comes
 * after a crash can put it back. FOLDER lies in the run folder: after a reboot both it and what was
 * set are gone. An owner is a container's id.
 *
 * Functions block, and those on one FOLDER run one at a time: the caller sees to that.
 */
#ifndef CRISP_OCI_SETTING_H
#define CRISP_OCI_SETTING_H

#include <stdbool.h>

#include "base/error.h"

#define SETTING_VALUE_MAX (64 * 1024) /* bytes of a value */

/*
 * Writes value to the file at path, having kept what it held for the owner. Where another owner has
 * kept that already, its part goes over to this one: what was before both is what is put back.
 */
int setting_change(const char *folder, const char *owner, const char *path, const char *value,
                   struct error *err);

/* Puts back all that setting_change changed for the owner, and forgets it. A file that has gone is
 * passed over. Nothing kept is fine. On failure what is left may be tried again. */
int setting_restore(const char *folder, const char *owner, struct error *err);

/* Something else that the owner is to undo, under a name of its own without slashes. */
int setting_note(const char *folder, const char *owner, const char *name, const char *text,
                 struct error *err);
/* On the heap; null where there is none. */
char *setting_noted(const char *folder, const char *owner, const char *name);
void setting_forget(const char *folder, const char *owner, const char *name);

/* The owners that have something kept; strv, may be null. */
char **setting_owners(const char *folder);

/* What a small file holds, without the line's end; on the heap. Null on failure. */
char *setting_read(const char *path, struct error *err);

#endif
