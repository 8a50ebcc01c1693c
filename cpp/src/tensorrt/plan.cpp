// Reads the header of a plan. Bytes come from outside: every access is checked against the size.
#include "cuready/plan.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "cuready/error.hpp"
#include "tensorrt/file_map.hpp"

namespace cuready {
namespace {

constexpr std::size_t header_size = 28;  // up to and including the version bytes

template <class T>
T read_le(Span<const std::byte> bytes, std::size_t at) {
  static_assert(std::is_unsigned_v<T>, "only unsigned numbers are read");
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T) && at + i < bytes.size(); ++i)
    value |= static_cast<T>(static_cast<T>(bytes[at + i]) << (8 * i));
  return value;
}

// The payload begins with typed records: four bytes of type, then the value. Seen in plans of 8.6 and 10.6, in this
// order: the version again (4 records of one byte), a record without a meaning for us, hardware compatibility (int32),
// two markers, compute capability major and minor (int32 each). Anything else than exactly this means: not known.
void read_platform(Span<const std::byte> plan, PlanInfo& info) {
  constexpr std::array<unsigned, 4> byte_tag{0x02, 0x80, 0x01, 0x00};
  const std::array<int, 4> version{info.built_by.major, info.built_by.minor, info.built_by.patch, info.built_by.build};
  std::array<std::byte, 20> pattern{};
  for (std::size_t part = 0; part < 4; ++part) {
    for (std::size_t i = 0; i < 4; ++i) pattern[part * 5 + i] = static_cast<std::byte>(byte_tag[i]);
    pattern[part * 5 + 4] = static_cast<std::byte>(version[part]);
  }
  constexpr std::size_t search_end = 512;
  constexpr std::uint32_t int_tag = 0x00018007, first_marker = 0x00018012, second_marker = 0x00018010;
  const std::byte* end = plan.begin() + std::min(plan.size(), search_end);
  const std::byte* found = std::search(plan.begin() + header_size, end, pattern.begin(), pattern.end());
  if (found == end) return;
  const std::size_t at = static_cast<std::size_t>(found - plan.begin()) + pattern.size() + 4;
  if (at + 32 > plan.size()) return;
  const bool as_seen =
      read_le<std::uint32_t>(plan, at) == int_tag && read_le<std::uint32_t>(plan, at + 8) == first_marker &&
      read_le<std::uint32_t>(plan, at + 12) == second_marker && read_le<std::uint32_t>(plan, at + 16) == int_tag &&
      read_le<std::uint32_t>(plan, at + 24) == int_tag;
  if (!as_seen) return;
  const std::uint32_t level = read_le<std::uint32_t>(plan, at + 4), major = read_le<std::uint32_t>(plan, at + 20),
                      minor = read_le<std::uint32_t>(plan, at + 28);
  if (level > 2 || major == 0 || major > 99 || minor > 99) return;
  info.hardware_compatibility = static_cast<int>(level);
  info.compute_major = static_cast<int>(major);
  info.compute_minor = static_cast<int>(minor);
}

// A version-compatible plan may bring the lean runtime of the version that built it: a shared library for the host.
// GPU code is ELF too, but of other machines. Only the ends are searched, so that huge plans are not read from disk.
bool holds_host_library(Span<const std::byte> plan) {
  constexpr std::size_t reach = std::size_t{64} << 20;
  constexpr std::string_view magic(
      "\x7f"
      "ELF\x02\x01",
      6);
  constexpr std::uint16_t type_shared = 3, machine_x86_64 = 62, machine_aarch64 = 183;
  const std::string_view all(reinterpret_cast<const char*>(plan.data()), plan.size());
  const auto search = [&](std::size_t begin, std::size_t end) {
    for (std::size_t at = all.find(magic, begin); at != std::string_view::npos && at < end;
         at = all.find(magic, at + 1)) {
      const std::uint16_t type = read_le<std::uint16_t>(plan, at + 16), machine = read_le<std::uint16_t>(plan, at + 18);
      if (type == type_shared && (machine == machine_x86_64 || machine == machine_aarch64)) return true;
    }
    return false;
  };
  if (plan.size() <= 2 * reach) return search(0, plan.size());
  return search(0, reach) || search(plan.size() - reach, plan.size());
}

std::string printable(const std::string& tag) {
  std::string text;
  for (char c : tag) text += (c >= 32 && c < 127) ? c : '?';
  return text;
}

}  // namespace

PlanInfo probe_plan(Span<const std::byte> plan) {
  PlanInfo info;
  info.size = plan.size();
  if (plan.size() < 4) {
    info.reason = "too short to be a plan";
    return info;
  }
  info.tag.assign(reinterpret_cast<const char*>(plan.data()), 4);
  if (info.tag != "ftrt") {
    info.reason = "its tag is \"" + printable(info.tag) + "\", not \"ftrt\": another family of plans, or no plan";
    return info;
  }
  if (plan.size() < header_size) {
    info.truncated = true;
    info.reason = "it ends inside its header";
    return info;
  }
  info.kind = PlanInfo::Kind::tensorrt;
  info.declared_size = static_cast<std::size_t>(read_le<std::uint64_t>(plan, 16));
  info.truncated = info.declared_size > plan.size();
  const auto part = [&](std::size_t at) { return static_cast<int>(plan[at]); };
  info.built_by = {part(24), part(25), part(26), part(27)};
  read_platform(plan, info);
  info.has_host_code = holds_host_library(plan);
  return info;
}

PlanInfo probe_plan(const std::string& path) {
  const tensorrt::FileMap file(path);
  return probe_plan(file.bytes());
}

}  // namespace cuready
