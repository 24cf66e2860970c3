// Multiplication of square matrices of `f64`, the inner loop over rows.
#include "../../../tests/guests/guest.h"

#define MOST 256

static double a[MOST * MOST], b[MOST * MOST], product[MOST * MOST];

// The sum of all entries of the product of two made-up matrices of so many rows, at most 256.
EXPORT(run) double run(int32_t rows) {
    if (rows < 0 || rows > MOST) return -1;
    size_t n = rows;
    uint32_t seed = 1;
    for (size_t i = 0; i < n * n; i++) {
        a[i] = next_random(&seed) % 1000;
        b[i] = next_random(&seed) % 1000;
        product[i] = 0;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            for (size_t j = 0; j < n; j++) product[i * n + j] += a[i * n + k] * b[k * n + j];
    double sum = 0;
    for (size_t i = 0; i < n * n; i++) sum += product[i];
    return sum;
}
