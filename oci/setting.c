#include "oci/setting.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"

#define KEPT_PREFIX "kept:" /* before what setting_change keeps; notes have names of their own */
#define SLASH       '|'     /* stands for a slash in the name; none of the kernel's files has it */

char *setting_read(const char *path, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (file_read(path, SETTING_VALUE_MAX, &text, err) < 0)
                return NULL;
        char *value = buffer_take(&text);
        size_t length = strlen(value);
        if (length && value[length - 1] == '\n')
                value[length - 1] = '\0';
        return value;
}

/* Where it is kept what the file at path held. */
static char *kept_name(const char *path)
{
        char *name = xprintf(KEPT_PREFIX "%s", path);
        for (char *at = name; *at; at++)
                if (*at == '/')
                        *at = SLASH;
        return name;
}

static char *kept_path(const char *name)
{
        char *path = xstrdup(name + strlen(KEPT_PREFIX));
        for (char *at = path; *at; at++)
                if (*at == SLASH)
                        *at = '/';
        return path;
}

char **setting_owners(const char *folder)
{
        char **owners = NULL;
        AUTO_DIR DIR *dir = opendir(folder);
        struct dirent *entry;
        while (dir && (entry = readdir(dir)))
                if (entry->d_name[0] != '.')
                        strv_push(&owners, entry->d_name);
        return owners;
}

int setting_note(const char *folder, const char *owner, const char *name, const char *text,
                 struct error *err)
{
        AUTO_FREE char *own = xprintf("%s/%s", folder, owner);
        AUTO_FREE char *file = xprintf("%s/%s", own, name);
        int result = file_make_directories(own, 0700, err);
        return result < 0 ? result : file_replace_volatile(file, text, strlen(text), 0600, err);
}

char *setting_noted(const char *folder, const char *owner, const char *name)
{
        AUTO_FREE char *file = xprintf("%s/%s/%s", folder, owner, name);
        struct error ignored;
        return setting_read(file, &ignored);
}

void setting_forget(const char *folder, const char *owner, const char *name)
{
        AUTO_FREE char *own = xprintf("%s/%s", folder, owner);
        AUTO_FREE char *file = xprintf("%s/%s", own, name);
        unlink(file);
        rmdir(own); /* with the last */
}

/* Moves what another owner kept under this name over to this one; whether there was such. */
static bool take_over(const char *folder, const char *owner, const char *name)
{
        char **owners = setting_owners(folder);
        AUTO_FREE char *to = xprintf("%s/%s/%s", folder, owner, name);
        bool taken = false;
        for (char **other = owners; other && *other && !taken; other++) {
                AUTO_FREE char *from = xprintf("%s/%s/%s", folder, *other, name);
                taken = rename(from, to) == 0;
        }
        strv_free(owners);
        return taken;
}

int setting_change(const char *folder, const char *owner, const char *path, const char *value,
                   struct error *err)
{
        AUTO_FREE char *own = xprintf("%s/%s", folder, owner);
        AUTO_FREE char *name = kept_name(path);
        int result = file_make_directories(own, 0700, err);
        if (result < 0)
                return result;
        if (!take_over(folder, owner, name)) {
                AUTO_FREE char *before = setting_read(path, err);
                if (!before)
                        return err->number;
                result = setting_note(folder, owner, name, before, err);
                if (result < 0)
                        return result;
        }
        return file_write(path, value, err);
}

static int restore_one(const char *folder, const char *owner, const char *name, struct error *err)
{
        AUTO_FREE char *path = kept_path(name);
        AUTO_FREE char *value = setting_noted(folder, owner, name);
        if (value && access(path, F_OK) == 0) {
                int result = file_write(path, value, err);
                if (result < 0)
                        return result;
        }
        setting_forget(folder, owner, name);
        return 0;
}

int setting_restore(const char *folder, const char *owner, struct error *err)
{
        AUTO_FREE char *own = xprintf("%s/%s", folder, owner);
        char **names = setting_owners(own);
        int result = 0;
        for (char **name = names; name && *name; name++) {
                struct error why;
                if (strncmp(*name, KEPT_PREFIX, strlen(KEPT_PREFIX)) != 0 ||
                    restore_one(folder, owner, *name, &why) == 0)
                        continue;
                if (result == 0 && err)
                        *err = why;
                result = why.number;
        }
        strv_free(names);
        rmdir(own);
        return result;
}
