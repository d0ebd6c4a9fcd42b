#include "conmon/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PID_FILE_MAX 32 /* bytes */

static void say(const char *what, int number)
{
        static const char name[] = "crisp-exec: ";
        const char *why = strerror(number);
        /* Who reads this is gone if it cannot be written. */
        if (write(STDERR_FILENO, name, sizeof name - 1) < 0 ||
            write(STDERR_FILENO, what, strlen(what)) < 0 || write(STDERR_FILENO, ": ", 2) < 0 ||
            write(STDERR_FILENO, why, strlen(why)) < 0 || write(STDERR_FILENO, "\n", 1) < 0)
                return;
}

static int exit_code(int status)
{
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static pid_t read_pid(const char *path)
{
        char text[PID_FILE_MAX];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        ssize_t length = read(fd, text, sizeof text - 1);
        close(fd);
        if (length <= 0)
                return -1;
        text[length] = '\0';
        long pid = strtol(text, NULL, 10);
        return pid > 1 && pid <= 0x7fffffff ? (pid_t)pid : -1;
}

/* Waits until pid has ended, and reaps what else is left to us meanwhile unless only says not to.
 */
static int wait_for(pid_t pid, int only, int *status)
{
        for (;;) {
                pid_t ended = waitpid(only ? pid : -1, status, 0);
                if (ended == pid)
                        return 0;
                if (ended < 0 && errno != EINTR)
                        return -1;
        }
}

/* Where somebody waits for the command's start, he gave us a pipe for it; the runtime must not have
 * it, nor what it starts. */
int exec_keep_report(void)
{
        return fcntl(EXEC_REPORT_FD, F_SETFD, FD_CLOEXEC) == 0;
}

void exec_report_start(void)
{
        /* Who waits for it has gone if it cannot be written. */
        if (write(EXEC_REPORT_FD, "", 1) < 0)
                errno = 0;
        close(EXEC_REPORT_FD);
}

int exec_run(const char *pid_file, char **command)
{
        pid_t runtime, pid;
        int status;
        int reports = exec_keep_report();
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
                say("become subreaper", errno);
                return EXEC_FAILED;
        }
        int number = posix_spawn(&runtime, command[0], NULL, NULL, command, environ);
        if (number) {
                say(command[0], number);
                return EXEC_FAILED;
        }
        /* The runtime alone at first: until it has ended we do not know which of our children is
         * the command. */
        if (wait_for(runtime, 1, &status) < 0) {
                say("wait for the runtime", errno);
                return EXEC_FAILED;
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return exit_code(status);
        pid = read_pid(pid_file);
        if (pid < 0) {
                say(pid_file, errno);
                return EXEC_FAILED;
        }
        if (reports)
                exec_report_start();
        if (wait_for(pid, 0, &status) < 0) {
                say("wait for the command", errno);
                return EXEC_FAILED;
        }
        return exit_code(status);
}
