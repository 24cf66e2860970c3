// Sleeps, and waits for standard input with a timeout.
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    long long begin = now();
    struct timespec nap = {0, 20000000};
    nanosleep(&nap, NULL);
    printf("slept: %d\n", now() - begin >= 20000000);
    struct pollfd on = {.fd = 0, .events = POLLIN};
    printf("nothing: %d\n", poll(&on, 1, 10));
    int ready = poll(&on, 1, 60000);
    char line[64];
    long n = read(0, line, sizeof line);
    printf("ready: %d, read: %.*s\n", ready, (int)n, line);
    return 0;
}
