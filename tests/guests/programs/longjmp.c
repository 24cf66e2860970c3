/* The exception that `longjmp` throws, which the C library leaves to the program. */
__asm__(".globl __c_longjmp\n"
        ".tagtype __c_longjmp i32\n"
        "__c_longjmp:\n");
