# Toolchain: Debian's cross compiler for arm64, and the libraries in POISONCTL_ARM64_LIBRARIES
# (tests/qemu/cross-build.py).

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# What CMake builds to try the compiler reads this file again.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES POISONCTL_ARM64_LIBRARIES)
set(CMAKE_FIND_ROOT_PATH ${POISONCTL_ARM64_LIBRARIES})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# OpenSSL's headers are in two folders, of which its CMake module names one.
set(CMAKE_C_FLAGS_INIT "-isystem ${POISONCTL_ARM64_LIBRARIES}/usr/include/aarch64-linux-gnu")
set(CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT}")

set(ENV{PKG_CONFIG_LIBDIR} "${POISONCTL_ARM64_LIBRARIES}/usr/lib/aarch64-linux-gnu/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${POISONCTL_ARM64_LIBRARIES}")
