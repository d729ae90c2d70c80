// The files of the checkout that tests read.
#pragma once

#include <string>
#include <string_view>

namespace poisonctl {

// The path of what is called `inside` in the checkout: "tests/golden/kho/list.dtb".
std::string checkout_path(std::string_view inside);

}  // namespace poisonctl
