// How soon points of the plane leave the Mandelbrot set, four at a time.
#include "../../../tests/guests/guest.h"
#include <wasm_simd128.h>

// The sum of the steps of all points of a square of so many by as many.
EXPORT(run) int32_t run(int32_t size) {
    v128_t sum = wasm_i32x4_splat(0);
    for (int32_t row = 0; row < size; row++) {
        v128_t y = wasm_f32x4_splat(2.0f * row / size - 1.0f);
        for (int32_t column = 0; column < size; column += 4) {
            v128_t at = wasm_f32x4_make(column, column + 1, column + 2, column + 3);
            v128_t x = wasm_f32x4_sub(wasm_f32x4_mul(at, wasm_f32x4_splat(3.0f / size)),
                                      wasm_f32x4_splat(2.0f));
            v128_t re = x, im = y, steps = wasm_i32x4_splat(0);
            for (int step = 0; step < 100; step++) {
                v128_t re2 = wasm_f32x4_mul(re, re), im2 = wasm_f32x4_mul(im, im);
                v128_t inside = wasm_f32x4_le(wasm_f32x4_add(re2, im2), wasm_f32x4_splat(4.0f));
                if (!wasm_v128_any_true(inside)) break;
                steps = wasm_i32x4_sub(steps, inside);
                im = wasm_f32x4_add(wasm_f32x4_mul(wasm_f32x4_mul(re, im), wasm_f32x4_splat(2.0f)), y);
                re = wasm_f32x4_add(wasm_f32x4_sub(re2, im2), x);
            }
            sum = wasm_i32x4_add(sum, steps);
        }
    }
    return wasm_i32x4_extract_lane(sum, 0) + wasm_i32x4_extract_lane(sum, 1) +
           wasm_i32x4_extract_lane(sum, 2) + wasm_i32x4_extract_lane(sum, 3);
}
