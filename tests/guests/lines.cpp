// Functions inlined into each other, overloads and templates, for those who read backtraces. It
// is the one guest with debug information.
#define EXPORT(name) extern "C" __attribute__((export_name(#name)))

namespace lines {

struct Fraction {
    int numerator, denominator;

    // Traps where the denominator is zero.
    __attribute__((always_inline)) int value() const {
        return numerator / denominator;
    }
};

template <typename T>
__attribute__((always_inline)) static inline T doubled(Fraction fraction) {
    T value = fraction.value();
    return 2 * value;
}

__attribute__((noinline)) static int evaluate(Fraction fraction) {
    return doubled<int>(fraction) + 1;
}

__attribute__((noinline)) static int evaluate(int numerator, int denominator) {
    return evaluate({numerator, denominator}) + 1;
}

}  // namespace lines

EXPORT(run) int run(int numerator, int denominator) {
    return lines::evaluate(numerator, denominator) + 1;
}

// Calls as often as it is told.
EXPORT(sum) int sum(int count) {
    int total = 0;
    for (int i = 1; i <= count; i++) {
        total += lines::evaluate(i, 1);
    }
    return total;
}
