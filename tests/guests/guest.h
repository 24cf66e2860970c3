// What every guest in C shares. Guests are freestanding: no libc, no imports. Copies and fills
// become `memory.copy` and `memory.fill`, so nothing has to stand in for `memcpy`.
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A function that the host calls by `name`.
#define EXPORT(name) __attribute__((export_name(#name)))

// A variable whose address the host reads from the exported global of the same name. The
// linker must be told the name too (`build.sh`).
#define EXPORT_ADDRESS __attribute__((used, visibility("default")))

// The next number of xorshift32, the generator behind every guest's made-up data.
static inline uint32_t next_random(uint32_t *state) {
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

// FNV-1a with 64 bits over `length` bytes, going on from `hash`.
static inline uint64_t fnv1a(uint64_t hash, const void *bytes, size_t length) {
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < length; i++) hash = (hash ^ byte[i]) * 0x100000001b3;
    return hash;
}
#define FNV1A_START 0xcbf29ce484222325

#endif
