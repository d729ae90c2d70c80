// Exit statuses: a stable interface, after sysexits(3). Scripts branch on them.
#pragma once

#include "registry/result.h"

namespace poisonctl {

enum ExitStatus : int {
  kExitDone = 0,
  kExitFindings = 1,  // done, with findings or with ranges that are not covered
  kExitUsage = 64,
  kExitBadData = 65,
  kExitNoInput = 66,
  kExitNotAvailable = 69,
  kExitBug = 70,
  kExitNoPrivilege = 71,
  kExitCannotWrite = 73,
  kExitIo = 74,
  kExitLocked = 75,
  kExitRefused = 77,
};

constexpr ExitStatus exit_status_for(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return kExitUsage;
    case ErrorCode::kBadData:
    case ErrorCode::kUnknownForm:
      return kExitBadData;
    case ErrorCode::kNoInput:
      return kExitNoInput;
    case ErrorCode::kNotAvailable:
      return kExitNotAvailable;
    case ErrorCode::kBug:
      return kExitBug;
    case ErrorCode::kNoPrivilege:
      return kExitNoPrivilege;
    case ErrorCode::kCannotWrite:
      return kExitCannotWrite;
    case ErrorCode::kIo:
      return kExitIo;
    case ErrorCode::kLocked:
      return kExitLocked;
    case ErrorCode::kRefused:
      return kExitRefused;
  }
  return kExitBug;
}

}  // namespace poisonctl
