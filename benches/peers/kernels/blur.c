// A blur of a grey picture: weights 1 2 1 in both directions, rounded, eight pixels at a time.
#include "../../../tests/guests/guest.h"
#include <wasm_simd128.h>

#define WIDTH 1024
#define HEIGHT 256

static uint8_t picture[(HEIGHT + 2) * WIDTH], blurred[(HEIGHT + 2) * WIDTH];

static v128_t pixels(const uint8_t *at) { return wasm_u16x8_load8x8(at); }

static v128_t row(const uint8_t *at) {
    v128_t sides = wasm_i16x8_add(pixels(at - 1), pixels(at + 1));
    return wasm_i16x8_add(sides, wasm_i16x8_shl(pixels(at), 1));
}

// The sum of all pixels of a made-up picture that was blurred so many times.
EXPORT(run) int32_t run(int32_t times) {
    uint32_t seed = 3;
    for (size_t i = 0; i < sizeof picture; i++) picture[i] = next_random(&seed);
    for (int32_t time = 0; time < times; time++) {
        for (size_t y = 1; y <= HEIGHT; y++) {
            for (size_t x = 8; x < WIDTH - 8; x += 8) {
                const uint8_t *at = &picture[y * WIDTH + x];
                v128_t sides = wasm_i16x8_add(row(at - WIDTH), row(at + WIDTH));
                v128_t sum = wasm_i16x8_add(sides, wasm_i16x8_shl(row(at), 1));
                v128_t mean = wasm_u16x8_shr(wasm_i16x8_add(sum, wasm_i16x8_splat(8)), 4);
                wasm_v128_store64_lane(&blurred[y * WIDTH + x], wasm_u8x16_narrow_i16x8(mean, mean), 0);
            }
        }
        __builtin_memcpy(&picture[WIDTH], &blurred[WIDTH], HEIGHT * WIDTH);
    }
    int32_t sum = 0;
    for (size_t i = 0; i < sizeof picture; i++) sum += picture[i];
    return sum;
}
