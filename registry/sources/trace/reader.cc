#include "registry/sources/trace/reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

extern "C" {  // a header of C
#include <kbuffer.h>
}

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <map>

#include "registry/posix_file.h"
#include "registry/sources/trace/decode.h"
#include "registry/sources/trace/libtracefs.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Memory that a C library gave away, and its other handles.
struct Free {
  void operator()(void* memory) const { std::free(memory); }  // NOLINT(*-no-malloc)
};
using CText = std::unique_ptr<char, Free>;
struct FreeTep {
  void operator()(tep_handle* tep) const { tep_free(tep); }
};
struct FreeBuffer {
  void operator()(kbuffer* buffer) const { kbuffer_free(buffer); }
};
struct FreeInstance {
  void operator()(tracefs_instance* instance) const { tracefs_instance_free(instance); }
};

std::string_view view(const char* text) { return text == nullptr ? std::string_view() : text; }

// The kernel's words for the values of one field.
using Words = std::map<std::uint64_t, std::string>;

// From __print_symbolic(field, {value, "word"}, ...). A value that the kernel's format shows by the
// name of its enumeration constant cannot be told from the format (no TRACE_DEFINE_ENUM: log and
// trace_type of CXL's events); such a list is in the order of the enumeration, from 0.
Words words_of(const tep_print_arg_symbol& symbol) {
  Words words;
  bool numeric = true;
  std::uint64_t position = 0;
  for (const tep_print_flag_sym* entry = symbol.symbols; entry != nullptr; entry = entry->next) {
    const std::string_view value = view(entry->value);
    auto number = parse_prefixed_hex(value);
    if (!number) number = parse_unsigned(value, 10);
    numeric = numeric && number;
    words[numeric ? *number : position] = view(entry->str);
    ++position;
  }
  if (numeric) return words;
  words.clear();
  position = 0;
  for (const tep_print_flag_sym* entry = symbol.symbols; entry != nullptr; entry = entry->next) {
    words[position++] = view(entry->str);
  }
  return words;
}

// Looks for the words of `field` in one argument of the format, and in what it is made of.
void find_words(const tep_print_arg* arg, std::string_view field, Words& found) {
  if (arg == nullptr) return;
  switch (arg->type) {
    case TEP_PRINT_SYMBOL:
      if (arg->symbol.field != nullptr && arg->symbol.field->type == TEP_PRINT_FIELD &&
          view(arg->symbol.field->field.name) == field) {
        found = words_of(arg->symbol);
      }
      break;
    case TEP_PRINT_OP:
      find_words(arg->op.left, field, found);
      find_words(arg->op.right, field, found);
      break;
    case TEP_PRINT_TYPE:
      find_words(arg->typecast.item, field, found);
      break;
    default:
      break;
  }
}

// How one event of this kernel is read.
struct Layout {
  const tep_event* event = nullptr;
  std::vector<std::pair<tep_format_field*, Words>> fields;
};

Layout layout_of(const tep_event& event) {
  Layout layout{.event = &event, .fields = {}};
  for (tep_format_field* field = event.format.fields; field != nullptr; field = field->next) {
    Words words;
    for (const tep_print_arg* arg = event.print_fmt.args; arg != nullptr; arg = arg->next) {
      find_words(arg, view(field->name), words);
    }
    layout.fields.emplace_back(field, std::move(words));
  }
  return layout;
}

// The bytes of an array: of one that is told by offset and length (__data_loc), those that it
// points at. Nothing where they are not inside the record.
std::string_view bytes_of(tep_handle* tep, const tep_format_field& field, std::string_view record) {
  const auto offset = static_cast<std::size_t>(field.offset);
  const auto size = static_cast<std::size_t>(field.size);
  if (offset > record.size() || size > record.size() - offset) return {};
  if ((field.flags & TEP_FIELD_IS_DYNAMIC) == 0) return record.substr(offset, size);
  const auto location = tep_read_number(tep, record.data() + offset, field.size);
  std::size_t start = location & 0xffffU;
  const std::size_t length = (location >> 16U) & 0xffffU;
  if ((field.flags & TEP_FIELD_IS_RELATIVE) != 0) start += offset + size;
  if (start > record.size() || length > record.size() - start) return {};
  return record.substr(start, length);
}

TraceField read_field(tep_handle* tep, const tep_format_field& field, const Words& words,
                      std::string_view record) {
  TraceField read{.name = std::string(view(field.name)), .number = {}, .text = {}};
  const std::string_view bytes = bytes_of(tep, field, record);
  if ((field.flags & TEP_FIELD_IS_STRING) != 0) {
    read.text = bytes.substr(0, bytes.find('\0'));
    return read;
  }
  const bool is_word = field.size == 1 || field.size == 2 || field.size == 4 || field.size == 8;
  if ((field.flags & TEP_FIELD_IS_ARRAY) != 0 || !is_word) {
    read.text = bytes;
    read.is_bytes = true;
    return read;
  }
  if (bytes.empty()) return read;
  read.number = tep_read_number(tep, bytes.data(), field.size);
  if (const auto word = words.find(*read.number); word != words.end()) read.text = word->second;
  return read;
}

std::chrono::nanoseconds now_of(clockid_t clock) {
  timespec now{};
  if (::clock_gettime(clock, &now) != 0) return {};
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

unsigned cpu_count() {
  return static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF)));
}

Error trace_error(std::string_view what, int number) {
  return os_error(what, number, ErrorCode::kNotAvailable);
}

}  // namespace

struct TraceReader::State {
  struct Cpu {
    unsigned number = 0;
    UniqueFd descriptor;
  };

  std::unique_ptr<tracefs_instance, FreeInstance> instance;
  std::unique_ptr<tep_handle, FreeTep> tep;
  std::unique_ptr<kbuffer, FreeBuffer> buffer;
  std::vector<char> page;
  std::map<int, Layout> layouts;  // by the id of the event
  std::vector<std::string> enabled;
  std::vector<std::string> missing;
  std::vector<Cpu> cpus;
  std::size_t first_cpu = 0;  // where the next read begins: no CPU waits for ever behind another

  Result<void> prepare();
  Result<void> open_cpus();
  bool enable(const KnownTraceEvent& known);
  void take_page(const Cpu& cpu, std::chrono::nanoseconds wall_offset,
                 const std::function<void(const TraceEvent&)>& take);
  [[nodiscard]] std::string file(const std::string& name) const {
    const CText content(tracefs_instance_file_read(instance.get(), name.c_str(), nullptr));
    return std::string(view(content.get()));
  }
};

TraceReader::TraceReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
TraceReader::TraceReader(TraceReader&&) noexcept = default;
TraceReader::~TraceReader() = default;

// What all events share: byte order, sizes, and the layout of a page of the ring buffer.
Result<void> TraceReader::State::prepare() {
  tep.reset(tep_alloc());
  if (!tep) return Error{ErrorCode::kIo, "out of memory for the formats of trace events"};
  tep_set_long_size(tep.get(), sizeof(long));
  tep_set_file_bigendian(tep.get(), tep_is_bigendian() ? TEP_BIG_ENDIAN : TEP_LITTLE_ENDIAN);
  tep_set_local_bigendian(tep.get(), tep_is_bigendian() ? TEP_BIG_ENDIAN : TEP_LITTLE_ENDIAN);
  int size = 0;
  const CText header(tracefs_instance_file_read(nullptr, "events/header_page", &size));
  if (!header || size <= 0 ||
      tep_parse_header_page(tep.get(), header.get(), static_cast<unsigned long>(size),
                            sizeof(long)) != 0) {
    return Error{ErrorCode::kNotAvailable,
                 "events/header_page of tracefs: cannot be read, or is not the layout of a page of "
                 "the ring buffer"};
  }
  buffer.reset(tep_kbuffer(tep.get()));
  const int page_size = tep_get_sub_buffer_size(tep.get());
  if (!buffer || page_size <= 0) {
    return Error{ErrorCode::kNotAvailable,
                 "events/header_page of tracefs: a page of the ring buffer has no size"};
  }
  page.resize(static_cast<std::size_t>(page_size));

  // A clock that can be turned into the time of day. To set it empties the buffer, which may hold
  // what came while nobody read.
  if (file("trace_clock").find("[mono]") == std::string::npos &&
      tracefs_instance_file_write(instance.get(), "trace_clock", "mono") < 0) {
    return trace_error("tracefs: cannot set trace_clock to mono", errno);
  }
  // Of a buffer that was found, the size stays: to shrink it would drop what it holds. When the
  // kernel has no memory for the size wanted, it keeps what it has.
  if (tracefs_instance_is_new(instance.get())) {
    const auto wanted = fmt::format("{}", buffer_kib_per_cpu(cpu_count()));
    static_cast<void>(
        tracefs_instance_file_write(instance.get(), "buffer_size_kb", wanted.c_str()));
  }
  // Wake up for every event, not when half of the buffer is full. Kernels before 5.0 always do.
  static_cast<void>(tracefs_instance_file_write(instance.get(), "buffer_percent", "0"));
  return {};
}

Result<void> TraceReader::State::open_cpus() {
  const unsigned count = cpu_count();
  for (unsigned number = 0; number < count; ++number) {
    const std::string name = fmt::format("per_cpu/cpu{}/trace_pipe_raw", number);
    UniqueFd descriptor(tracefs_instance_file_open(instance.get(), name.c_str(),
                                                   O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!descriptor.valid() && errno == ENOENT) continue;  // numbers may have gaps
    if (!descriptor.valid()) return trace_error("cannot open " + name + " of tracefs", errno);
    cpus.push_back({.number = number, .descriptor = std::move(descriptor)});
  }
  if (cpus.empty())
    return Error{ErrorCode::kNotAvailable, "tracefs: has no ring buffer of any CPU"};
  return {};
}

bool TraceReader::State::enable(const KnownTraceEvent& known) {
  const std::string name(known.name);
  for (const std::string_view candidate : known.systems) {
    const std::string system(candidate);
    int size = 0;
    const CText format(
        tracefs_event_file_read(nullptr, system.c_str(), name.c_str(), "format", &size));
    if (!format || size <= 0) continue;
    // Of a format whose printing it cannot parse the library still knows the fields.
    static_cast<void>(
        tep_parse_event(tep.get(), format.get(), static_cast<unsigned long>(size), system.c_str()));
    const tep_event* const event = tep_find_event_by_name(tep.get(), system.c_str(), name.c_str());
    if (event == nullptr) continue;
    if (tracefs_event_enable(instance.get(), system.c_str(), name.c_str()) != 0) continue;
    layouts[event->id] = layout_of(*event);
    enabled.push_back(system + ":" + name);
    return true;
  }
  return false;
}

Result<TraceReader> TraceReader::open(const std::string& name) {
  tep_set_loglevel(TEP_LOG_NONE);  // this library does not print
  tracefs_set_loglevel(TEP_LOG_NONE);
  auto state = std::make_unique<State>();
  errno = 0;
  if (tracefs_tracing_dir() == nullptr) {
    return trace_error("tracefs: not mounted, and cannot be", errno == 0 ? ENODEV : errno);
  }
  state->instance.reset(tracefs_instance_create(name.c_str()));
  if (!state->instance) {
    return trace_error(fmt::format("tracefs: cannot make the instance {}", name), errno);
  }
  auto ready = state->prepare();
  if (ready) ready = state->open_cpus();
  if (!ready) {
    // Nobody would read it. One that was found may hold events: it stays for the next start.
    state->cpus.clear();
    if (tracefs_instance_is_new(state->instance.get()))
      static_cast<void>(tracefs_instance_destroy(state->instance.get()));
    return ready.error();
  }
  TraceReader reader(std::move(state));
  for (const KnownTraceEvent& known : known_trace_events()) {
    reader.state_->missing.emplace_back(known.name);
  }
  reader.enable_missing();
  if (reader.enabled().empty()) {
    static_cast<void>(reader.remove());
    return Error{ErrorCode::kNotAvailable, "tracefs: this kernel has no event about memory errors"};
  }
  tracefs_trace_on(reader.state_->instance.get());
  return reader;
}

const std::vector<std::string>& TraceReader::enabled() const { return state_->enabled; }
std::vector<std::string> TraceReader::missing() const { return state_->missing; }

std::vector<std::string> TraceReader::enable_missing() {
  const std::size_t before = state_->enabled.size();
  std::erase_if(state_->missing, [&](const std::string& name) {
    const auto all = known_trace_events();
    const auto known = std::find_if(all.begin(), all.end(), [&](const KnownTraceEvent& candidate) {
      return candidate.name == name;
    });
    return known != all.end() && state_->enable(*known);
  });
  return {state_->enabled.begin() + static_cast<std::ptrdiff_t>(before), state_->enabled.end()};
}

std::vector<int> TraceReader::descriptors() const {
  std::vector<int> all;
  for (const State::Cpu& cpu : state_->cpus) all.push_back(cpu.descriptor.get());
  return all;
}

void TraceReader::State::take_page(const Cpu& cpu, std::chrono::nanoseconds wall_offset,
                                   const std::function<void(const TraceEvent&)>& take) {
  if (kbuffer_load_subbuffer(buffer.get(), page.data()) != 0) return;
  unsigned long long stamp = 0;
  for (void* data = kbuffer_read_event(buffer.get(), &stamp); data != nullptr;
       data = kbuffer_next_event(buffer.get(), &stamp)) {
    const int size = kbuffer_event_size(buffer.get());
    if (size <= 0) continue;
    const std::string_view bytes(static_cast<const char*>(data), static_cast<std::size_t>(size));
    tep_record record{};
    record.data = data;
    record.size = size;
    const auto layout = layouts.find(tep_data_type(tep.get(), &record));
    if (layout == layouts.end()) continue;  // somebody has turned on another event here
    TraceEvent event;
    event.name = view(layout->second.event->name);
    event.time = Time(wall_offset + std::chrono::nanoseconds(stamp));
    event.cpu = cpu.number;
    for (const auto& [field, words] : layout->second.fields) {
      event.fields.push_back(read_field(tep.get(), *field, words, bytes));
    }
    take(event);
  }
}

Result<bool> TraceReader::read(const std::function<void(const TraceEvent&)>& take,
                               const std::function<bool()>& wants_more) {
  const auto wall_offset = now_of(CLOCK_REALTIME) - now_of(CLOCK_MONOTONIC);
  const std::size_t count = state_->cpus.size();
  const std::size_t first = state_->first_cpu++ % count;
  for (std::size_t i = 0; i < count; ++i) {
    const State::Cpu& cpu = state_->cpus.at((first + i) % count);
    while (true) {
      if (!wants_more()) return true;
      const ssize_t got = ::read(cpu.descriptor.get(), state_->page.data(), state_->page.size());
      if (got < 0 && errno == EINTR) continue;
      // EBUSY: somebody reads the same buffer at this moment.
      if (got == 0 || (got < 0 && (errno == EAGAIN || errno == EBUSY))) break;
      if (got < 0) {
        return os_error(fmt::format("cannot read the ring buffer of CPU {}", cpu.number), errno,
                        ErrorCode::kIo);
      }
      state_->take_page(cpu, wall_offset, take);
    }
  }
  return false;
}

Result<std::uint64_t> TraceReader::lost() const {
  std::uint64_t sum = 0;
  for (const State::Cpu& cpu : state_->cpus) {
    const std::string stats = state_->file(fmt::format("per_cpu/cpu{}/stats", cpu.number));
    if (stats.empty()) {
      return Error{ErrorCode::kIo,
                   fmt::format("tracefs: cannot read per_cpu/cpu{}/stats", cpu.number), errno};
    }
    sum += lost_events(stats);
  }
  return sum;
}

void TraceReader::stop() { tracefs_trace_off(state_->instance.get()); }

Result<void> TraceReader::remove() {
  state_->cpus.clear();  // an instance that is open cannot be removed
  for (const std::string& event : state_->enabled) {
    const std::size_t colon = event.find(':');
    tracefs_event_disable(state_->instance.get(), event.substr(0, colon).c_str(),
                          event.substr(colon + 1).c_str());
  }
  if (tracefs_instance_destroy(state_->instance.get()) != 0) {
    return os_error("tracefs: cannot remove the instance", errno, ErrorCode::kIo);
  }
  return {};
}

unsigned buffer_kib_per_cpu(unsigned cpus) {
  constexpr unsigned kTotal = 32 * 1024;
  constexpr unsigned kLeast = 256;
  constexpr unsigned kMost = 4 * 1024;
  return std::clamp(kTotal / std::max(1U, cpus), kLeast, kMost);
}

std::uint64_t lost_events(std::string_view stats) {
  constexpr std::array<std::string_view, 3> kCounters = {"overrun", "commit overrun",
                                                         "dropped events"};
  std::uint64_t sum = 0;
  for (const std::string_view line : split_lines(stats)) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const bool counts =
        std::find(kCounters.begin(), kCounters.end(), line.substr(0, colon)) != kCounters.end();
    if (counts) sum += parse_unsigned(trim(line.substr(colon + 1)), 10).value_or(0);
  }
  return sum;
}

}  // namespace poisonctl
