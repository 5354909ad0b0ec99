/* Stands for the daemons and clients of the appliance that no registry of
 * packages has: which one, its name says. A daemon answers where the real one
 * does, and ends when it is told to; a client asks its daemon. As little as the
 * scripts of initd/ need to be tried on a booted machine, and nothing of the
 * programs themselves. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BUILDKIT "/run/buildkit/buildkitd.sock"

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* What the real one would miss. */
static void need(const char *path)
{
    if (access(path, R_OK))
        die(path);
}

/* Reads a request and answers it. */
static void answer(int peer)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK";
    char request[4096];
    size_t length = 0;
    /* All of it: closing with something unread is a reset for the asker. */
    while (length < sizeof request - 1) {
        ssize_t count = read(peer, request + length, sizeof request - 1 - length);
        if (count <= 0)
            break;
        length += count;
        request[length] = 0;
        if (strstr(request, "\r\n\r\n"))
            break;
    }
    if (write(peer, ok, sizeof ok - 1) < 0)
        perror("write");
}

/* Answers whoever connects, one after the other, without end. */
static void serve(int listener)
{
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer < 0)
            continue;
        answer(peer);
        close(peer);
    }
}

static struct sockaddr_in at(const char *host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static int listen_at(const char *host, int port)
{
    struct sockaddr_in address = at(host, port);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        die("listen");
    return listener;
}

static void serve_port(const char *host, int port)
{
    serve(listen_at(host, port));
}

/* Where the gateway's container would be. */
#define GATEWAY "127.0.0.2"

/* Runs the image that a file names, if there is one, as a core service does. */
static void run_core(void)
{
    if (!access("core", R_OK) &&
        system("ctr -n openfaas run -d $(cat core) nats /bin/busybox sleep 1000000"))
        die("core");
}

/* faasd's own weakness (pkg/proxy.go of 0.19.0): it listens before the gateway does,
 * and for good no more once the gateway did not take a connection. */
static void serve_gateway(void)
{
    struct sockaddr_in gateway = at(GATEWAY, 8080);
    int listener = listen_at("127.0.0.1", 8080);
    FILE *hosts = fopen("hosts", "w");
    if (!hosts)
        die("hosts");
    fprintf(hosts, "\n127.0.0.1\tlocalhost\n10.62.0.1\tfaasd-provider\n\n%s\tgateway\n", GATEWAY);
    fclose(hosts);
    if (!fork()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(listener);
        sleep(2);
        serve_port(GATEWAY, 8080);
    }
    for (;;) {
        int peer = accept(listener, NULL, NULL), upstream = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(upstream, (struct sockaddr *)&gateway, sizeof gateway)) {
            fprintf(stderr, "Unable to dial: %s:8080, error: refused\n", GATEWAY);
            close(peer);
            close(listener);
            for (;;)
                pause();
        }
        close(upstream);
        answer(peer);
        close(peer);
    }
}

static struct sockaddr_un buildkit(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = BUILDKIT};
    return address;
}

static void serve_buildkit(void)
{
    struct sockaddr_un address = buildkit();
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    mkdir("/run/buildkit", 0711);
    /* One that a killed daemon left is in the way: the script has to remove it. */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        die(BUILDKIT);
    serve(listener);
}

static int ask_buildkit(void)
{
    struct sockaddr_un address = buildkit();
    char answer[64];
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(peer, (struct sockaddr *)&address, sizeof address))
        die(BUILDKIT);
    if (write(peer, "workers\r\n\r\n", 11) != 11)
        die("write");
    return read(peer, answer, sizeof answer) <= 0;
}

/* The argument behind `option`. */
static const char *value(char **arguments, const char *option)
{
    for (; *arguments; arguments++)
        if (!strcmp(*arguments, option) && arguments[1])
            return arguments[1];
    fprintf(stderr, "there is no %s\n", option);
    exit(2);
}

static void serve_editor(const char *config)
{
    char line[256], host[64];
    int port;
    FILE *file = fopen(config, "r");
    if (!file)
        die(config);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "bind-addr: %63[0-9.]:%d", host, &port) == 2)
            serve_port(host, port);
    fprintf(stderr, "%s has no bind-addr\n", config);
    exit(2);
}

int main(int count, char **arguments)
{
    const char *slash = strrchr(arguments[0], '/');
    const char *name = slash ? slash + 1 : arguments[0];
    const char *first = count > 1 ? arguments[1] : "";
    if (!strcmp(name, "buildkitd")) {
        need(value(arguments, "--config"));
        serve_buildkit();
    } else if (!strcmp(name, "buildctl")) {
        return ask_buildkit();
    } else if (!strcmp(name, "faasd") && !strcmp(first, "provider")) {
        const char *secrets = getenv("secret_mount_path");
        need(secrets ? secrets : "secret_mount_path");
        serve_port("0.0.0.0", 8081);
    } else if (!strcmp(name, "faasd") && !strcmp(first, "up")) {
        need("docker-compose.yaml");
        need("prometheus.yml");
        need("resolv.conf");
        run_core();
        serve_gateway();
    } else if (!strcmp(name, "node") && !strcmp(first, "-e")) {
        /* What a password is hashed to, if nobody is to log in. */
        puts("$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo");
        return 0;
    } else if (!strcmp(name, "node")) {
        serve_editor(value(arguments, "--config"));
    }
    fprintf(stderr, "%s can do no %s\n", name, first);
    return 1;
}
