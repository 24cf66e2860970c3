// Arguments, environment, standard streams, and an exit status.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *name = getenv("NAME");
    printf("hello, %s\n", name ? name : "world");
    for (int i = 1; i < argc; i++) {
        printf("argument %d: %s\n", i, argv[i]);
    }
    int lines = 0;
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        printf("%d: %s", ++lines, line);
    }
    fprintf(stderr, "%d lines\n", lines);
    return argc > 1 ? atoi(argv[1]) : 0;
}
