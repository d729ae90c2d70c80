// Holds the declarations in libtracefs.h against those of the library itself.
#include "registry/sources/trace/libtracefs.h"

#include <tracefs.h>

typedef int poisonctl_libtracefs_is_declared;  // C wants a declaration of a file's own
