// Files and directories by way of the C library, in the directory that is the first argument.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int ok, const char *what) {
    if (!ok) {
        printf("%s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static int names(const char *path) {
    DIR *dir = opendir(path);
    check(dir != NULL, "opendir");
    int count = 0;
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv) {
    check(argc == 2 && chdir(argv[1]) == 0, "chdir");
    FILE *file = fopen("numbers", "w+");
    check(file != NULL, "fopen");
    for (int i = 0; i < 100000; i++) {
        fprintf(file, "%d\n", i);
    }
    check(fseek(file, -6, SEEK_END) == 0, "fseek");
    char line[16];
    check(fgets(line, sizeof line, file) != NULL, "fgets");
    printf("last: %s", line);
    check(fclose(file) == 0, "fclose");

    struct stat st;
    check(stat("numbers", &st) == 0, "stat");
    printf("size: %lld\n", (long long)st.st_size);
    check(mkdir("sub", 0777) == 0, "mkdir");
    check(rename("numbers", "sub/n") == 0, "rename");
    check(symlink("n", "sub/link") == 0, "symlink");
    for (int i = 0; i < 300; i++) {
        char path[32];
        snprintf(path, sizeof path, "sub/file-%d", i);
        int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0666);
        check(fd >= 0, "open");
        check(close(fd) == 0, "close");
    }
    printf("names: %d\n", names("sub"));
    int fd = open("sub/link", O_RDWR | O_APPEND);
    check(fd >= 0, "open a link");
    check(write(fd, "end", 3) == 3, "write");
    check(ftruncate(fd, 4) == 0, "ftruncate");
    char bytes[8];
    check(pread(fd, bytes, sizeof bytes, 0) == 4, "pread");
    printf("bytes: %.4s", bytes);
    check(unlink("sub/link") == 0, "unlink");
    check(rmdir("sub") != 0 && errno == ENOTEMPTY, "rmdir");
    check(open("../secret", O_RDONLY) < 0, "a way out");
    printf("refused: %s\n", strerror(errno));
    return 0;
}
