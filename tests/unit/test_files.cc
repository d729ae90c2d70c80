#include "tests/unit/test_files.h"

namespace poisonctl {

// The only file that is compiled with a path of this checkout: ccache knows all others in the next.
std::string checkout_path(std::string_view inside) {
  return std::string(POISONCTL_CHECKOUT "/").append(inside);
}

}  // namespace poisonctl
