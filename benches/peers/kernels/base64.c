// Base64 (RFC 4648), twelve bytes to sixteen characters at a time.
#include "../../../tests/guests/guest.h"
#include <wasm_simd128.h>

#define BYTES 49152

static uint8_t bytes[BYTES + 16];
static char text[BYTES / 3 * 4];

// The four numbers of six bits in each three bytes, a byte for each.
static v128_t numbers(v128_t in) {
    in = wasm_i8x16_shuffle(in, in, 1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    v128_t high = wasm_v128_and(in, wasm_i32x4_splat(0x0fc0fc00));
    v128_t low = wasm_v128_and(in, wasm_i32x4_splat(0x003f03f0));
    // Shifts by different numbers of bits in either half are products.
    v128_t even = wasm_v128_or(
        wasm_u16x8_shr(wasm_v128_and(high, wasm_i32x4_splat(0x0000ffff)), 10),
        wasm_v128_and(wasm_u16x8_shr(high, 6), wasm_i32x4_splat(0xffff0000)));
    v128_t odd = wasm_i16x8_mul(low, wasm_i32x4_splat(0x01000010));
    return wasm_v128_or(even, odd);
}

static v128_t characters(v128_t numbers) {
    // Where the ranges of the alphabet begin: A-Z, a-z, 0-9, + and /.
    const v128_t shifts = wasm_i8x16_make('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
                                          '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62,
                                          '/' - 63, 'A', 0, 0);
    v128_t range = wasm_u8x16_sub_sat(numbers, wasm_i8x16_splat(51));
    v128_t upper = wasm_u8x16_lt(numbers, wasm_i8x16_splat(26));
    range = wasm_v128_or(range, wasm_v128_and(upper, wasm_i8x16_splat(13)));
    return wasm_i8x16_add(numbers, wasm_i8x16_swizzle(shifts, range));
}

// A checksum of made-up bytes in Base64, so many times.
EXPORT(run) int32_t run(int32_t times) {
    uint32_t seed = 11, sum = 0;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = next_random(&seed);
    for (int32_t time = 0; time < times; time++) {
        for (size_t i = 0; i < BYTES / 12; i++) {
            v128_t in = wasm_v128_load(&bytes[12 * i]);
            wasm_v128_store(&text[16 * i], characters(numbers(in)));
        }
        bytes[time % BYTES] += 1;
        sum = sum * 31 + text[time % sizeof text];
    }
    for (size_t i = 0; i < sizeof text; i++) sum = sum * 31 + text[i];
    return sum;
}
