// ChaCha20 (RFC 8439), four blocks at a time, a lane of a vector for each.
#include "../../../tests/guests/guest.h"
#include <wasm_simd128.h>

#define ROTATE(x, n) wasm_v128_or(wasm_i32x4_shl(x, n), wasm_u32x4_shr(x, 32 - (n)))

static void quarter(v128_t *a, v128_t *b, v128_t *c, v128_t *d) {
    *a = wasm_i32x4_add(*a, *b), *d = ROTATE(wasm_v128_xor(*d, *a), 16);
    *c = wasm_i32x4_add(*c, *d), *b = ROTATE(wasm_v128_xor(*b, *c), 12);
    *a = wasm_i32x4_add(*a, *b), *d = ROTATE(wasm_v128_xor(*d, *a), 8);
    *c = wasm_i32x4_add(*c, *d), *b = ROTATE(wasm_v128_xor(*b, *c), 7);
}

// The sum of the words of so many times four blocks, under a made-up key. `run(0)` is zero.
EXPORT(run) int32_t run(int32_t times) {
    static const uint32_t start[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    v128_t first[16];
    uint32_t seed = 7;
    for (int i = 0; i < 16; i++)
        first[i] = wasm_i32x4_splat(i < 4 ? start[i] : next_random(&seed));
    v128_t sum = wasm_i32x4_splat(0);
    for (int32_t time = 0; time < times; time++) {
        first[12] = wasm_i32x4_add(wasm_i32x4_splat(4 * time), wasm_i32x4_make(0, 1, 2, 3));
        v128_t x[16];
        for (int i = 0; i < 16; i++) x[i] = first[i];
        for (int round = 0; round < 10; round++) {
            for (int i = 0; i < 4; i++) quarter(&x[i], &x[i + 4], &x[i + 8], &x[i + 12]);
            for (int i = 0; i < 4; i++)
                quarter(&x[i], &x[4 + (i + 1) % 4], &x[8 + (i + 2) % 4], &x[12 + (i + 3) % 4]);
        }
        for (int i = 0; i < 16; i++) sum = wasm_i32x4_add(sum, wasm_i32x4_add(x[i], first[i]));
    }
    return wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1) +
           wasm_i32x4_extract_lane(sum, 2) + wasm_i32x4_extract_lane(sum, 3);
}
