// Search for strings: byte by byte, and after Horspool with a table of shifts.
#include "../../../tests/guests/guest.h"

#define LENGTH 65536

static uint8_t text[LENGTH];

static uint32_t naive(const uint8_t *word, size_t length) {
    uint32_t found = 0;
    for (size_t at = 0; at + length <= LENGTH; at++) {
        size_t same = 0;
        while (same < length && text[at + same] == word[same]) same++;
        found += same == length;
    }
    return found;
}

static uint32_t horspool(const uint8_t *word, size_t length) {
    uint8_t shift[256];
    for (size_t i = 0; i < 256; i++) shift[i] = length;
    for (size_t i = 0; i + 1 < length; i++) shift[word[i]] = length - 1 - i;
    uint32_t found = 0;
    for (size_t at = 0; at + length <= LENGTH; at += shift[text[at + length - 1]]) {
        size_t same = length;
        while (same > 0 && text[at + same - 1] == word[same - 1]) same--;
        found += same == 0;
    }
    return found;
}

// Searches a made-up text of four letters for so many of its words; how often they occur, or -1
// where the two ways differ.
EXPORT(run) int32_t run(int32_t words) {
    uint32_t seed = 1, found = 0;
    for (size_t i = 0; i < LENGTH; i++) text[i] = "acgt"[next_random(&seed) >> 30];
    for (int32_t i = 0; i < words; i++) {
        const uint8_t *word = text + next_random(&seed) % (LENGTH - 16);
        size_t length = 4 + i % 12;
        uint32_t times = naive(word, length);
        if (times != horspool(word, length)) return -1;
        found += times;
    }
    return found;
}
