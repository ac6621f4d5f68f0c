/*
 * Runs a fuzz entry over the files of its corpus, without a fuzzer: the regression half of fuzzing,
 * for every compiler and sanitizer. Each input is copied to a block of exactly its size, so that a
 * read past the end is seen. Prints TAP: one line for the whole corpus.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    static uint8_t block[1 << 20];
    size_t size = fread(block, 1, sizeof(block), file);
    fclose(file);
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    memcpy(exact, block, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
        return 2;
    }
    DIR *directory = opendir(argv[1]);
    int count = 0;
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char path[4096];
        if (entry->d_name[0] != '.' &&
            snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name) < (int)sizeof(path)) {
            count += run_file(path);
        }
    }
    if (directory != NULL) {
        closedir(directory);
    }
    printf("1..1\n%s 1 - %d inputs\n", count > 0 ? "ok" : "not ok", count);
    return count > 0 ? 0 : 1;
}
