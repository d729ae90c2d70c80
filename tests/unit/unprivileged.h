// Without root for a while: permission checks do not apply to root, and tests often run as root.
#pragma once

#include <unistd.h>

#include <stdexcept>

namespace poisonctl {

class Unprivileged {
 public:
  Unprivileged() : user_(::geteuid()) {
    constexpr uid_t kNobody = 65534;
    if (user_ == 0 && ::seteuid(kNobody) != 0) throw std::runtime_error("cannot give up root");
  }
  Unprivileged(const Unprivileged&) = delete;
  Unprivileged& operator=(const Unprivileged&) = delete;
  ~Unprivileged() {
    // Cannot fail: the saved user id is still root's.
    if (user_ == 0 && ::seteuid(user_) != 0) ::_exit(1);
  }

 private:
  uid_t user_;
};

}  // namespace poisonctl
