// BLAKE3's compression function: 32-bit additions, rotations and a permuted message.
#include "../../../tests/guests/guest.h"

static const uint32_t IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint8_t PERMUTATION[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};

static uint32_t rotate(uint32_t x, unsigned by) { return x >> by | x << (32 - by); }

static inline void mix(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y) {
    v[a] += v[b] + x;
    v[d] = rotate(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate(v[b] ^ v[c], 7);
}

static void compress(uint32_t chain[8], const uint32_t block[16], uint64_t counter) {
    uint32_t v[16], m[16], permuted[16];
    for (int i = 0; i < 8; i++) v[i] = chain[i];
    for (int i = 0; i < 4; i++) v[8 + i] = IV[i];
    v[12] = counter, v[13] = counter >> 32, v[14] = 64, v[15] = 0;
    for (int i = 0; i < 16; i++) m[i] = block[i];
    for (int round = 0; round < 7; round++) {
        mix(v, 0, 4, 8, 12, m[0], m[1]);
        mix(v, 1, 5, 9, 13, m[2], m[3]);
        mix(v, 2, 6, 10, 14, m[4], m[5]);
        mix(v, 3, 7, 11, 15, m[6], m[7]);
        mix(v, 0, 5, 10, 15, m[8], m[9]);
        mix(v, 1, 6, 11, 12, m[10], m[11]);
        mix(v, 2, 7, 8, 13, m[12], m[13]);
        mix(v, 3, 4, 9, 14, m[14], m[15]);
        for (int i = 0; i < 16; i++) permuted[i] = m[PERMUTATION[i]];
        for (int i = 0; i < 16; i++) m[i] = permuted[i];
    }
    for (int i = 0; i < 8; i++) chain[i] = v[i] ^ v[i + 8];
}

// Chains so many blocks of made-up words, and answers the first two words of the outcome.
EXPORT(run) int64_t run(int32_t blocks) {
    uint32_t chain[8], block[16], seed = 1;
    for (int i = 0; i < 8; i++) chain[i] = IV[i];
    for (int i = 0; i < 16; i++) block[i] = next_random(&seed);
    for (int32_t i = 0; i < blocks; i++) {
        compress(chain, block, i);
        block[i & 15] ^= chain[0];
    }
    return (int64_t)chain[1] << 32 | chain[0];
}
