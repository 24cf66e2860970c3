// SHA-256 (FIPS 180-4) over a megabyte: shifts, rotates and additions of 32 bits.
#include "guest.h"

#define MEGABYTE (1 << 20)

static uint8_t data[MEGABYTE];

// The digest of the last run, as bytes.
EXPORT_ADDRESS uint8_t digest[32];

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t START[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

struct sha256 {
    uint32_t state[8];
    uint64_t length; // bytes so far
    uint8_t block[64]; // the first `length % 64` of these wait for the rest of their block
};

static uint32_t rotate(uint32_t x, int by) {
    return x >> by | x << (32 - by);
}

static uint32_t load_be(const uint8_t *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    return __builtin_bswap32(word);
}

static void store_be(uint8_t *to, uint32_t word) {
    word = __builtin_bswap32(word);
    __builtin_memcpy(to, &word, 4);
}

static void compress(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) w[i] = load_be(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t low = rotate(a, 7) ^ rotate(a, 18) ^ a >> 3;
        uint32_t high = rotate(b, 17) ^ rotate(b, 19) ^ b >> 10;
        w[i] = w[i - 16] + low + w[i - 7] + high;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t one = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i];
        uint32_t two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + one;
        d = c, c = b, b = a, a = one + two;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static void begin(struct sha256 *sha) {
    __builtin_memcpy(sha->state, START, sizeof START);
    sha->length = 0;
}

static void update(struct sha256 *sha, const uint8_t *from, size_t length) {
    size_t held = sha->length % 64;
    sha->length += length;
    if (held) {
        size_t take = length < 64 - held ? length : 64 - held;
        __builtin_memcpy(sha->block + held, from, take);
        if (held + take < 64) return;
        compress(sha->state, sha->block);
        from += take, length -= take;
    }
    for (; length >= 64; from += 64, length -= 64) compress(sha->state, from);
    __builtin_memcpy(sha->block, from, length);
}

static void finish(struct sha256 *sha, uint8_t out[32]) {
    uint64_t bits = sha->length * 8;
    uint8_t tail[72] = {0x80};
    size_t zeros = (119 - sha->length % 64) % 64; // up to the last 8 bytes of a block
    store_be(tail + 1 + zeros, bits >> 32);
    store_be(tail + 5 + zeros, (uint32_t)bits);
    update(sha, tail, 1 + zeros + 8);
    for (int i = 0; i < 8; i++) store_be(out + 4 * i, sha->state[i]);
}

// Fills the megabyte with xorshift32 from seed 1, little-endian words, and hashes it `rounds`
// times: first the megabyte alone, then each time the last digest followed by the megabyte.
// Leaves the digest in `digest` and answers its first word, big-endian; 0 for no rounds.
EXPORT(run) int32_t run(int32_t rounds) {
    uint32_t random = 1;
    for (size_t i = 0; i < MEGABYTE; i += 4) {
        uint32_t word = next_random(&random);
        __builtin_memcpy(data + i, &word, 4);
    }
    __builtin_memset(digest, 0, sizeof digest);
    for (int32_t i = 0; i < rounds; i++) {
        struct sha256 sha;
        begin(&sha);
        if (i > 0) update(&sha, digest, sizeof digest);
        update(&sha, data, MEGABYTE);
        finish(&sha, digest);
    }
    return load_be(digest);
}
