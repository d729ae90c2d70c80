// The other forms of the backend "e820": the same choice of frames, for those who make the memory
// map of the next kernel or boot another system.
//   badram      GRUB_BADRAM="ADDR,MASK,...", a line for /etc/default/grub.d (GRUB manual, "badram")
//   cutmem      cutmem FROM TO, one command a line; TO is one past the last byte (GRUB manual)
//   bcdedit     Windows: bcdedit /set {badmemory} badmemorylist PFN ..., pages of 4 KiB
//   table       struct boot_e820_entry[], the whole map, bad frames unusable
//   setup-data  struct setup_data of type SETUP_E820_EXT with the bad frames alone, unusable
// The last two are little-endian and packed (arch/x86/include/uapi/asm/bootparam.h,
// setup_data.h; Documentation/arch/x86/boot.rst).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/range_choice.h"
#include "registry/memory_map.h"

namespace poisonctl {

// In the order of the manual.
std::span<const std::string_view> e820_form_names();
// False for what is none.
bool is_binary_form(std::string_view form);

// What a form has to fit into.
struct FormPlace {
  const MemoryMap& map;
  std::size_t table_entries = 0;  // that the next kernel's own table has left
};

// `form` must be one of e820_form_names().
Room room_of_form(std::string_view form, const FormPlace& place);
// What keeps `taken` out. Not empty.
std::string artifact_of_form(std::string_view form, const RangeSet& taken, const FormPlace& place);
std::vector<std::string> effects_of_form(std::string_view form);

}  // namespace poisonctl
