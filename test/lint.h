/*
 * What clang's analyzer cannot see across files: these functions return a negative number. `make
 * lint` includes this before each source (but the one that defines them); without it, every caller
 * seems to go on with what a failure left unset.
 */
#include "base/error.h"

#define error_set(...)     (error_set(__VA_ARGS__), -1)
#define error_vset(...)    (error_vset(__VA_ARGS__), -1)
#define error_errno(...)   (error_errno(__VA_ARGS__), -1)
#define error_context(...) (error_context(__VA_ARGS__), -1)
#define error_word(...)    (error_word(__VA_ARGS__), -1)
