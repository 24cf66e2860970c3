// A compressor in the way of LZ77: hashes, copies of what went before, branches on the data.
#include "../../../tests/guests/guest.h"

#define LENGTH 131072

static uint8_t plain[LENGTH], packed[LENGTH * 2], again[LENGTH];
static uint32_t last[4096];

static uint32_t three_bytes(const uint8_t *at) { return at[0] | at[1] << 8 | at[2] << 16; }

// A literal is its byte after 0; a copy its length, at most 255, and its distance in two bytes.
static size_t compress(void) {
    size_t out = 0;
    for (size_t i = 0; i < 4096; i++) last[i] = 0;
    for (size_t at = 0; at < LENGTH;) {
        size_t length = 0, before = 0;
        if (at + 3 <= LENGTH) {
            uint32_t *seen = &last[three_bytes(plain + at) * 2654435761u >> 20];
            before = *seen, *seen = at;
            if (before < at && at - before < 65536)
                while (length < 255 && at + length < LENGTH &&
                       plain[before + length] == plain[at + length])
                    length++;
        }
        if (length < 4) {
            packed[out++] = 0;
            packed[out++] = plain[at++];
        } else {
            packed[out++] = length;
            packed[out++] = at - before;
            packed[out++] = (at - before) >> 8;
            at += length;
        }
    }
    return out;
}

static void expand(size_t length) {
    size_t out = 0;
    for (size_t at = 0; at < length;) {
        uint8_t count = packed[at];
        if (count == 0) {
            again[out++] = packed[at + 1];
            at += 2;
        } else {
            size_t distance = packed[at + 1] | packed[at + 2] << 8;
            for (; count > 0; count--, out++) again[out] = again[out - distance];
            at += 3;
        }
    }
}

// Packs and unpacks made-up text so many times; the packed bytes, or -1 where it came out wrong.
EXPORT(run) int32_t run(int32_t times) {
    static const char *const words[8] = {"the ", "wick ", "draws ", "fuel ", "and ", "burns ", "a ", "fiber "};
    uint32_t seed = 1;
    for (size_t at = 0; at < LENGTH;)
        for (const char *word = words[next_random(&seed) >> 29]; *word && at < LENGTH; word++)
            plain[at++] = next_random(&seed) % 64 ? *word : 'x';
    int32_t sum = 0;
    for (int32_t i = 0; i < times; i++) {
        size_t length = compress();
        expand(length);
        for (size_t at = 0; at < LENGTH; at++)
            if (plain[at] != again[at]) return -1;
        sum += length;
    }
    return sum;
}
