// Dot products of signed bytes, as neural networks take them: widened, multiplied and summed in pairs.
#include "../../../tests/guests/guest.h"
#include <wasm_simd128.h>

#define LEN 4096

static int8_t weights[16][LEN], inputs[LEN];

// The sum of the products of sixteen made-up rows with one column, so many times.
EXPORT(run) int32_t run(int32_t times) {
    uint32_t seed = 5, sum = 0;
    for (size_t i = 0; i < LEN; i++) {
        inputs[i] = next_random(&seed);
        for (size_t row = 0; row < 16; row++) weights[row][i] = next_random(&seed);
    }
    for (int32_t time = 0; time < times; time++) {
        for (size_t row = 0; row < 16; row++) {
            v128_t total = wasm_i32x4_splat(0);
            for (size_t i = 0; i < LEN; i += 16) {
                v128_t a = wasm_v128_load(&weights[row][i]), b = wasm_v128_load(&inputs[i]);
                v128_t low = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(a),
                                                  wasm_i16x8_extend_low_i8x16(b));
                v128_t high = wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(a),
                                                   wasm_i16x8_extend_high_i8x16(b));
                total = wasm_i32x4_add(total, wasm_i32x4_add(low, high));
            }
            sum = sum * 3 + wasm_i32x4_extract_lane(total, 0) + wasm_i32x4_extract_lane(total, 1) +
                  wasm_i32x4_extract_lane(total, 2) + wasm_i32x4_extract_lane(total, 3);
        }
        inputs[time % LEN] += 1;
    }
    return sum;
}
