// Primes by the sieve of Eratosthenes, one byte for each odd number: short loops of stores.
#include "guest.h"

#define LIMIT (2 * 1024 * 1024)

static uint8_t composite[LIMIT / 2]; // composite[i] tells of 2 * i + 1

// How many primes are not above `n`; -1 where `n` is 2 MiB or more, or negative.
EXPORT(run) int32_t run(int32_t n) {
    if (n < 0 || n >= LIMIT) return -1;
    if (n < 2) return 0;
    int32_t odd = (n + 1) / 2; // 1, 3, 5, … not above n
    __builtin_memset(composite, 0, odd);
    int32_t count = 1; // the 2
    for (int32_t i = 1; i < odd; i++) {
        if (composite[i]) continue;
        count++;
        int32_t prime = 2 * i + 1;
        if (prime > n / prime) continue;
        for (int32_t j = prime * prime / 2; j < odd; j += prime) composite[j] = 1;
    }
    return count;
}
