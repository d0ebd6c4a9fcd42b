/* Makes the system calls that it is told to, and says what came of each: "ok" or the error's name. */
#include <errno.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long clone_with(unsigned long flags)
{
        long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
                _exit(0);
        if (pid > 0)
                waitpid((pid_t)pid, NULL, 0);
        return pid;
}

/* As whoever is not root does it: the kernel numbers and filters the packets of such a socket. */
static long ping(void)
{
        const struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const struct icmphdr echo = {.type = ICMP_ECHO};
        struct icmphdr answer;
        int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
        if (fd < 0 || sendto(fd, &echo, sizeof echo, 0, (const struct sockaddr *)&to, sizeof to) < 0)
                return -1;
        return recv(fd, &answer, sizeof answer, 0);
}

static long call(const char *name)
{
        struct clone_args none = {0};
        if (strcmp(name, "unshare-user") == 0)
                return syscall(SYS_unshare, CLONE_NEWUSER);
        if (strcmp(name, "unshare-mount") == 0)
                return syscall(SYS_unshare, CLONE_NEWNS);
        if (strcmp(name, "clone-user") == 0)
                return clone_with(CLONE_NEWUSER);
        if (strcmp(name, "clone-net") == 0)
                return clone_with(CLONE_NEWNET);
        if (strcmp(name, "clone") == 0)
                return clone_with(0);
        if (strcmp(name, "clone3") == 0) /* of size 0: EINVAL where it gets through */
                return syscall(SYS_clone3, &none, 0UL);
        if (strcmp(name, "socket-vsock") == 0)
                return syscall(SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
        if (strcmp(name, "socket-alg") == 0)
                return syscall(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0);
        if (strcmp(name, "socket-unix") == 0)
                return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
        if (strcmp(name, "socket-nfc") == 0) /* the family between: above or below it is the filter's edge */
                return syscall(SYS_socket, AF_NFC, SOCK_STREAM, 0);
        if (strcmp(name, "ping") == 0)
                return ping();
        if (strcmp(name, "swapoff") == 0)
                return syscall(SYS_swapoff, "/nowhere");
        if (strcmp(name, "io_uring") == 0)
                return syscall(SYS_io_uring_setup, 1, NULL);
        if (strcmp(name, "keyctl") == 0)
                return syscall(SYS_keyctl, 0, -3, 0, 0, 0);
        if (strcmp(name, "mkdir") == 0)
                return syscall(SYS_mkdirat, -100, "/tmp-of-syscalls", 0700);
        if (strcmp(name, "personality") == 0)
                return syscall(SYS_personality, 0xffffffffUL);
        if (strcmp(name, "personality-odd") == 0)
                return syscall(SYS_personality, ADDR_COMPAT_LAYOUT);
        if (strcmp(name, "be-root") == 0) {
                errno = EPERM;
                return geteuid() == 0 ? 0 : -1;
        }
        if (strcmp(name, "future") == 0)
                return syscall(4000);
        errno = ENOTSUP;
        return -1;
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++) {
                int result = call(argv[i]) < 0 ? errno : 0;
                printf("%s %s\n", argv[i], result ? strerrorname_np(result) : "ok");
                fflush(stdout);
        }
        return 0;
}
