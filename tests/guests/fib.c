// Fibonacci numbers by plain recursion: nothing but calls.
#include "guest.h"

// fib(0) = 0, fib(1) = 1. Takes about 1.6^n calls.
EXPORT(fib) int32_t fib(int32_t n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
