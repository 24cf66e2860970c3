// Multiplication of 256-bit numbers modulo the prime of secp256k1, after Montgomery: chains of
// 64-bit products with carries, as signatures need them.
#include "../../../tests/guests/guest.h"

typedef unsigned __int128 wide;

static const uint64_t PRIME[4] = {0xfffffffefffffc2f, ~0ull, ~0ull, ~0ull};
// Minus one over the prime, modulo two to the 64.
static const uint64_t FACTOR = 0xd838091dd2253531;

// WebAssembly multiplies 64 by 64 bits to 64: four products of halves make 128.
static wide product(uint64_t a, uint64_t b) {
    uint64_t low = (a & ~0u) * (b & ~0u), high = (a >> 32) * (b >> 32);
    uint64_t one = (a >> 32) * (b & ~0u), other = (a & ~0u) * (b >> 32);
    return ((wide)high << 64) + low + ((wide)one << 32) + ((wide)other << 32);
}

static void multiply(uint64_t out[4], const uint64_t a[4], const uint64_t b[4]) {
    uint64_t t[6] = {0};
    for (int i = 0; i < 4; i++) {
        wide carry = 0;
        for (int j = 0; j < 4; j++) {
            carry += product(a[j], b[i]) + t[j];
            t[j] = carry, carry >>= 64;
        }
        carry += t[4];
        t[4] = carry, t[5] = carry >> 64;

        uint64_t factor = t[0] * FACTOR;
        carry = (product(factor, PRIME[0]) + t[0]) >> 64;
        for (int j = 1; j < 4; j++) {
            carry += product(factor, PRIME[j]) + t[j];
            t[j - 1] = carry, carry >>= 64;
        }
        carry += t[4];
        t[3] = carry, t[4] = t[5] + (uint64_t)(carry >> 64);
    }
    uint64_t less[4];
    uint64_t borrow = 0;
    for (int i = 0; i < 4; i++) {
        wide difference = (wide)t[i] - PRIME[i] - borrow;
        less[i] = difference, borrow = (uint64_t)(difference >> 64) & 1;
    }
    uint64_t keep = -(uint64_t)(t[4] < borrow);
    for (int i = 0; i < 4; i++) out[i] = (t[i] & keep) | (less[i] & ~keep);
}

// Multiplies so many times, by the number before, and answers the lowest 64 bits.
EXPORT(run) int64_t run(int32_t times) {
    uint64_t x[4] = {3, 1, 4, 1}, y[4] = {2, 7, 1, 8};
    for (int32_t i = 0; i < times; i++) {
        multiply(x, x, y);
        multiply(y, y, x);
    }
    return x[0];
}
