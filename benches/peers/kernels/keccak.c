// Keccak-f[1600], the permutation of SHA-3: 25 lanes of 64 bits, more than there are registers.
#include "../../../tests/guests/guest.h"

static uint64_t rotate(uint64_t x, unsigned by) { return x << (by & 63) | x >> (-by & 63); }

// The round constants of FIPS 202, from its linear feedback shift register.
static uint64_t round_constant(uint8_t *lfsr) {
    uint64_t constant = 0;
    for (unsigned j = 0; j < 7; j++) {
        if (*lfsr & 1) constant ^= 1ull << ((1u << j) - 1);
        *lfsr = *lfsr << 1 ^ (*lfsr >> 7) * 0x71;
    }
    return constant;
}

static void permute(uint64_t lane[25]) {
    uint8_t lfsr = 1;
    for (unsigned round = 0; round < 24; round++) {
        uint64_t column[5];
        for (unsigned x = 0; x < 5; x++)
            column[x] = lane[x] ^ lane[x + 5] ^ lane[x + 10] ^ lane[x + 15] ^ lane[x + 20];
        for (unsigned x = 0; x < 5; x++) {
            uint64_t theta = column[(x + 4) % 5] ^ rotate(column[(x + 1) % 5], 1);
            for (unsigned y = 0; y < 25; y += 5) lane[x + y] ^= theta;
        }
        uint64_t moving = lane[1];
        for (unsigned step = 0, x = 1, y = 0; step < 24; step++) {
            unsigned next = (2 * x + 3 * y) % 5;
            x = y, y = next;
            uint64_t kept = lane[x + 5 * y];
            lane[x + 5 * y] = rotate(moving, (step + 1) * (step + 2) / 2);
            moving = kept;
        }
        for (unsigned y = 0; y < 25; y += 5) {
            for (unsigned x = 0; x < 5; x++) column[x] = lane[x + y];
            for (unsigned x = 0; x < 5; x++)
                lane[x + y] = column[x] ^ (~column[(x + 1) % 5] & column[(x + 2) % 5]);
        }
        lane[0] ^= round_constant(&lfsr);
    }
}

// The first lane after so many permutations of zeros; `run(1)` is 0xf1258f7940e1dde7.
EXPORT(run) int64_t run(int32_t permutations) {
    uint64_t lane[25] = {0};
    for (int32_t i = 0; i < permutations; i++) permute(lane);
    return lane[0];
}
