// The ELF header of a shared library (System V ABI, "ELF Header").
#include "tensorrt/elf.hpp"

#include <elf.h>
#include <cstddef>
#include <cstdint>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace cuready::tensorrt {
namespace {

#if defined(__x86_64__)
constexpr unsigned own_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr unsigned own_machine = EM_AARCH64;
#else
#error "TensorRT exists for x86-64 and aarch64"
#endif

std::string machine_name(unsigned machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "aarch64";
    case EM_386:
      return "32-bit x86";
    case EM_ARM:
      return "32-bit ARM";
    case EM_PPC64:
      return "ppc64";
    default:
      return "machine " + std::to_string(machine);
  }
}

}  // namespace

std::string why_not_loadable(const std::string& path) {
  std::error_code unknown;
  const bool other = std::filesystem::exists(path, unknown) && !std::filesystem::is_regular_file(path, unknown);
  if (other) return "no regular file";  // opening a pipe would wait for its writer
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::generic_category().message(errno);
  Elf64_Ehdr header{};
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  const auto got = static_cast<std::size_t>(file.gcount());
  if (got < SELFMAG || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return "not a shared library (no ELF header)";
  if (got < EI_NIDENT + 4) return "cut short inside its ELF header";
  // e_machine lies at the same place in 32-bit files.
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != own_machine) {
    return "wrong architecture: built for " + machine_name(header.e_machine) + ", this is " + machine_name(own_machine);
  }
  if (header.e_type != ET_DYN) return "not a shared library (ELF type " + std::to_string(header.e_type) + ")";
  if (got < sizeof header) return "cut short inside its ELF header";
  file.clear();
  file.seekg(0, std::ios::end);
  const auto size = static_cast<std::uint64_t>(file.tellg());
  // The section headers come last in what linkers write: a file that ends before them was not copied whole.
  const std::uint64_t needed = header.e_shoff + static_cast<std::uint64_t>(header.e_shnum) * header.e_shentsize;
  if (header.e_shoff != 0 && needed > size) {
    return "cut short: " + std::to_string(size) + " bytes of at least " + std::to_string(needed) +
           " (copy or install it again)";
  }
  return {};
}

}  // namespace cuready::tensorrt
