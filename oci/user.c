#include "oci/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"

#define ID_MAX        (UINT32_MAX - 1) /* (uid_t)-1 means "no change" to the kernel */
#define ID_DIGITS_MAX 10
#define FIELDS_MAX    7 /* of a line of passwd */

#define PASSWD_UID  2
#define PASSWD_GID  3
#define PASSWD_HOME 5
#define GROUP_GID   2
#define GROUP_LIST  3

/* A part of a file's text. */
struct span {
        const char *text;
        size_t length;
};

/* Digits alone, within a user's or group's range. */
static bool span_id(struct span span, uint32_t *id)
{
        uint64_t value = 0;
        if (span.length == 0 || span.length > ID_DIGITS_MAX)
                return false;
        for (size_t i = 0; i < span.length; i++) {
                if (span.text[i] < '0' || span.text[i] > '9')
                        return false;
                value = value * 10 + (uint64_t)(span.text[i] - '0');
        }
        if (value > ID_MAX)
                return false;
        *id = (uint32_t)value;
        return true;
}

static struct span span_of(const char *text)
{
        return (struct span){text, strlen(text)};
}

/* Reads a file of the image; one that is missing is empty. */
static int read_file(int root_fd, const char *path, struct buffer *contents, struct error *err)
{
        struct error why;
        /* O_NONBLOCK: an image may have a FIFO there. */
        AUTO_FD int fd = file_open_in(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &why);
        if (fd == -ENOENT || fd == -ENOTDIR)
                return 0;
        if (fd < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "the image's %s: %s", path,
                                 strerror(-fd));
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "the image's %s", path);
        if (!S_ISREG(st.st_mode))
                return error_set(err, ERROR_INVALID_ARGUMENT, "the image's %s: not a plain file",
                                 path);
        if (st.st_size > USER_FILE_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "the image's %s: longer than %d bytes", path, USER_FILE_MAX);
        while (contents->length < USER_FILE_MAX) {
                char *room = buffer_reserve(contents, USER_FILE_MAX - contents->length);
                ssize_t count = read(fd, room, USER_FILE_MAX - contents->length);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "the image's %s", path);
                if (count == 0)
                        break;
                contents->length += (size_t)count;
        }
        return 0;
}

/* The next line of *rest in fields that colons part; false at the end. Missing fields are empty. */
static bool next_line(struct span *rest, struct span fields[FIELDS_MAX])
{
        while (rest->length > 0) {
                const char *newline = memchr(rest->text, '\n', rest->length);
                size_t length = newline ? (size_t)(newline - rest->text) : rest->length;
                struct span line = {rest->text, length};
                size_t passed = newline ? length + 1 : length;
                rest->text += passed;
                rest->length -= passed;
                if (line.length > 0 && line.text[line.length - 1] == '\r')
                        line.length--;
                if (line.length == 0 || line.length > USER_LINE_MAX || line.text[0] == '#')
                        continue;
                memset(fields, 0, FIELDS_MAX * sizeof *fields);
                for (int i = 0; i < FIELDS_MAX; i++) {
                        const char *colon = memchr(line.text, ':', line.length);
                        fields[i].text = line.text;
                        fields[i].length = colon ? (size_t)(colon - line.text) : line.length;
                        if (!colon)
                                break;
                        line.length -= fields[i].length + 1;
                        line.text = colon + 1;
                }
                return true;
        }
        return false;
}

/* What /etc/passwd says of one user. */
struct entry {
        bool found;
        uint32_t uid, gid;
        struct span name, home;
};

/* By name; where there is none, by number if wanted is one. */
static struct entry find_user(struct span passwd, struct span wanted, bool by_name)
{
        struct entry found = {0};
        uint32_t number = 0;
        bool numeric = span_id(wanted, &number);
        struct span fields[FIELDS_MAX];
        while (next_line(&passwd, fields)) {
                struct entry entry = {
                        .found = true, .name = fields[0], .home = fields[PASSWD_HOME]};
                if (!span_id(fields[PASSWD_UID], &entry.uid) ||
                    !span_id(fields[PASSWD_GID], &entry.gid))
                        continue;
                if (by_name && entry.name.length == wanted.length &&
                    memcmp(entry.name.text, wanted.text, wanted.length) == 0)
                        return entry;
                if (numeric && entry.uid == number && !found.found)
                        found = entry;
        }
        return found;
}

static bool find_group(struct span group, struct span wanted, uint32_t *gid)
{
        struct span fields[FIELDS_MAX];
        while (next_line(&group, fields)) {
                uint32_t found;
                if (span_id(fields[GROUP_GID], &found) && fields[0].length == wanted.length &&
                    memcmp(fields[0].text, wanted.text, wanted.length) == 0) {
                        *gid = found;
                        return true;
                }
        }
        return span_id(wanted, gid);
}

static bool list_has(struct span list, struct span name)
{
        while (list.length > 0) {
                const char *comma = memchr(list.text, ',', list.length);
                size_t length = comma ? (size_t)(comma - list.text) : list.length;
                if (length == name.length && memcmp(list.text, name.text, length) == 0)
                        return true;
                size_t passed = comma ? length + 1 : length;
                list.text += passed;
                list.length -= passed;
        }
        return false;
}

static int add_gid(struct user *user, uint32_t gid, struct error *err)
{
        for (size_t i = 0; i < user->gid_count; i++)
                if (user->gids[i] == gid)
                        return 0;
        if (user->gid_count == USER_GROUPS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d additional groups",
                                 USER_GROUPS_MAX);
        user->gids = xrealloc(user->gids, (user->gid_count + 1) * sizeof *user->gids);
        user->gids[user->gid_count++] = gid;
        return 0;
}

static int add_groups_of(struct user *user, struct span group, struct span name, struct error *err)
{
        struct span fields[FIELDS_MAX];
        while (next_line(&group, fields)) {
                uint32_t gid;
                if (!span_id(fields[GROUP_GID], &gid) || !list_has(fields[GROUP_LIST], name))
                        continue;
                int result = add_gid(user, gid, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int check_id(int64_t value, const char *what, struct error *err)
{
        if (value >= 0 && value <= (int64_t)ID_MAX)
                return 0;
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s %lld: not within 0 to %u", what,
                         (long long)value, ID_MAX);
}

static int check_request(const struct user_request *request, struct error *err)
{
        bool named = request->name && request->name[0];
        if (request->has_gid && !request->has_uid && !named)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "run_as_group is given without run_as_user or run_as_username");
        int result = 0;
        if (request->has_uid)
                result = check_id(request->uid, "user", err);
        if (result == 0 && request->has_gid)
                result = check_id(request->gid, "group", err);
        for (size_t i = 0; result == 0 && i < request->supplemental_group_count; i++)
                result = check_id(request->supplemental_groups[i], "supplemental group", err);
        return result;
}

/* Whom the request asks for. */
struct wanted {
        struct span user;
        bool by_name;      /* user may be a name; else a number alone */
        struct span group; /* of the image's USER; length 0 where there is none */
};

static void choose(const struct user_request *request, char digits[24], struct wanted *wanted)
{
        *wanted = (struct wanted){.user = span_of("0")};
        if (request->has_uid) {
                snprintf(digits, 24, "%lld", (long long)request->uid);
                wanted->user = span_of(digits);
        } else if (request->name && request->name[0]) {
                wanted->user = span_of(request->name);
                wanted->by_name = true;
        } else if (request->image_user && request->image_user[0]) {
                const char *colon = strchr(request->image_user, ':');
                wanted->user = span_of(request->image_user);
                wanted->by_name = true;
                if (colon) {
                        wanted->user.length = (size_t)(colon - request->image_user);
                        wanted->group = span_of(colon + 1);
                }
                if (wanted->user.length == 0)
                        wanted->user = span_of("0");
        }
}

static int resolve(const struct user_request *request, struct span passwd, struct span group,
                   struct user *user, struct error *err)
{
        char digits[24];
        struct wanted wanted;
        choose(request, digits, &wanted);
        struct entry entry = find_user(passwd, wanted.user, wanted.by_name);
        uint32_t number;
        if (entry.found) {
                user->uid = entry.uid;
                user->gid = entry.gid;
                user->name = xstrndup(entry.name.text, entry.name.length);
        } else if (span_id(wanted.user, &number)) {
                user->uid = number;
        } else {
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "user \"%.*s\": not in the image's /etc/passwd",
                                 wanted.user.length > 64 ? 64 : (int)wanted.user.length,
                                 wanted.user.text);
        }
        if (request->has_gid)
                user->gid = (uint32_t)request->gid;
        else if (wanted.group.length > 0 && !find_group(group, wanted.group, &user->gid))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "group \"%.*s\": not in the image's /etc/group",
                                 wanted.group.length > 64 ? 64 : (int)wanted.group.length,
                                 wanted.group.text);
        /* A home that is no absolute path is of no use to anybody. */
        user->home = entry.home.length > 0 && entry.home.text[0] == '/'
                             ? xstrndup(entry.home.text, entry.home.length)
                             : xstrdup("/");
        /*
         * The primary group is among the additional ones as well, as other runtimes have it:
         * otherwise a process could drop it, and with it what a file denies to that group.
         */
        int result = add_gid(user, user->gid, err);
        if (result == 0 && entry.found && !request->strict)
                result = add_groups_of(user, group, entry.name, err);
        for (size_t i = 0; result == 0 && i < request->supplemental_group_count; i++)
                result = add_gid(user, (uint32_t)request->supplemental_groups[i], err);
        return result;
}

int user_resolve(int root_fd, const struct user_request *request, struct user *user,
                 struct error *err)
{
        AUTO_BUFFER struct buffer passwd = BUFFER_INIT;
        AUTO_BUFFER struct buffer group = BUFFER_INIT;
        AUTO_USER struct user found = {0};
        int result = check_request(request, err);
        if (result == 0)
                result = read_file(root_fd, "/etc/passwd", &passwd, err);
        if (result == 0)
                result = read_file(root_fd, "/etc/group", &group, err);
        if (result == 0)
                result = resolve(request, (struct span){passwd.data, passwd.length},
                                 (struct span){group.data, group.length}, &found, err);
        if (result < 0)
                return result;
        *user = found;
        found = (struct user){0};
        return 0;
}

void user_fini(struct user *user)
{
        int saved = errno;
        free(user->gids);
        free(user->name);
        free(user->home);
        *user = (struct user){0};
        errno = saved;
}
