"""Broken and healthy environments, each made of real ELF files. One function, one environment."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from .workshop import Case, Workshop, opened, patch, run

Scenario = Callable[[Workshop], Case]
SCENARIOS: dict[str, Scenario] = {}
HEALTHY: set[str] = set()


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def healthy(function: Scenario) -> Scenario:
    """One that must load."""
    HEALTHY.add(function.__name__)
    return scenario(function)


F = "int f(void){return 1;}"
USES_F = "int f(void); int g(void){return f();}"
V1 = "V1 {global: f; local: *;};"
V2 = "V1 {global: f; local: *;}; V2 {global: f2;} V1;"


# --- files that are not there, or not what they should be ---------------------------------------


@scenario
def a_needed_library_is_missing(w: Workshop) -> Case:
    gone = w.lib("libgone.so.1", F)
    user = w.lib("libuser.so", USES_F, needs=[gone])
    gone.unlink()
    return opened(user)


@scenario
def a_library_of_a_library_is_missing(w: Workshop) -> Case:
    gone = w.lib("libgone.so.1", F)
    middle = w.lib("libmiddle.so", USES_F, needs=[gone])
    user = w.lib("libuser.so", needs=[middle], runpath=str(w.folder))
    gone.unlink()
    return opened(user)


@scenario
def two_are_missing_and_the_first_is_named(w: Workshop) -> Case:
    one, two = w.lib("libone.so", F), w.lib("libtwo.so")
    deep = w.lib("libdeep.so", needs=[two])
    user = w.lib("libuser.so", USES_F, needs=[deep, one], runpath=str(w.folder))
    one.unlink()
    two.unlink()
    return opened(user)


@scenario
def the_file_itself_is_missing(w: Workshop) -> Case:
    return opened(w.folder / "nowhere.so")


@scenario
def a_soname_that_nobody_has(w: Workshop) -> Case:
    return opened("libthere_is_no_such_library.so.7")


@scenario
def an_empty_file(w: Workshop) -> Case:
    dependency = w.lib("libempty.so", F)
    user = w.lib("libuser.so", USES_F, needs=[dependency], runpath=str(w.folder))
    dependency.write_bytes(b"")
    return opened(user)


@scenario
def a_file_of_twenty_bytes(w: Workshop) -> Case:
    path = w.lib("libshort.so")
    path.write_bytes(path.read_bytes()[:20])
    return opened(path)


@scenario
def a_linker_script_in_the_place_of_a_library(w: Workshop) -> Case:
    dependency = w.lib("libscript.so", F)
    user = w.lib("libuser.so", USES_F, needs=[dependency], runpath=str(w.folder))
    dependency.write_text("/* GNU ld script */\nGROUP ( /lib/libc.so.6 AS_NEEDED ( ) )\n" * 4)
    return opened(user)


@scenario
def a_git_lfs_pointer_instead_of_the_library(w: Workshop) -> Case:
    path = w.folder / "libpointer.so"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\n")
    return opened(path)


@scenario
def a_library_of_the_other_word_size(w: Workshop) -> Case:
    dependency = w.lib("libother.so", F)
    user = w.lib("libuser.so", USES_F, needs=[dependency], runpath=str(w.folder))
    patch(dependency, 4, b"\x01")
    return opened(user)


@scenario
def a_library_of_another_machine_is_passed_over(w: Workshop) -> Case:
    dependency = w.lib("libarm.so", F)
    user = w.lib("libuser.so", USES_F, needs=[dependency], runpath=str(w.folder))
    patch(dependency, 18, (183).to_bytes(2, "little"))
    return opened(user)


@scenario
def a_file_of_another_machine_opened_by_path(w: Workshop) -> Case:
    path = w.lib("libarm.so")
    patch(path, 18, (183).to_bytes(2, "little"))
    return opened(path)


@scenario
def a_big_endian_file(w: Workshop) -> Case:
    path = w.lib("libbig.so")
    patch(path, 5, b"\x02")
    return opened(path)


@scenario
def a_file_for_another_operating_system(w: Workshop) -> Case:
    path = w.lib("libbsd.so")
    patch(path, 7, b"\x09")
    return opened(path)


@scenario
def padding_that_is_not_zero(w: Workshop) -> Case:
    path = w.lib("libpadded.so")
    patch(path, 12, b"\x01")
    return opened(path)


@scenario
def a_file_version_of_the_future(w: Workshop) -> Case:
    path = w.lib("libfuture.so")
    patch(path, 20, b"\x02")
    return opened(path)


@scenario
def an_object_file(w: Workshop) -> Case:
    source = w.dir("src") / "o.c"
    source.write_text(F)
    run(["gcc", "-c", "-o", w.folder / "libobject.so", source])
    return opened(w.folder / "libobject.so")


@scenario
def a_program_that_is_position_independent(w: Workshop) -> Case:
    return opened(w.program("tool", "-pie", "-fPIE"))


@scenario
def a_program_at_a_fixed_address(w: Workshop) -> Case:
    return opened(w.program("tool", "-no-pie"))


@scenario
def a_file_with_debug_information_only(w: Workshop) -> Case:
    path = w.lib("libdebug.so", F, flags=["-g"])
    run(["objcopy", "--only-keep-debug", path, w.folder / "libdebug.so.debug"])
    return opened(w.folder / "libdebug.so.debug")


@scenario
def a_folder_with_the_name_of_a_library(w: Workshop) -> Case:
    dependency = w.lib("libfolder.so", F)
    user = w.lib("libuser.so", USES_F, needs=[dependency], runpath=str(w.folder))
    dependency.unlink()
    dependency.mkdir()
    return opened(user)


@scenario
def a_link_to_nothing(w: Workshop) -> Case:
    (w.folder / "libdangling.so").symlink_to("libnothing.so")
    return opened(w.folder / "libdangling.so")


@scenario
def a_link_to_itself(w: Workshop) -> Case:
    (w.folder / "libloop.so").symlink_to("libloop.so")
    return opened(w.folder / "libloop.so")


@scenario
def a_link_to_itself_on_the_search_path(w: Workshop) -> Case:
    dependency = w.lib("libloop.so", F)
    user = w.lib("libuser.so", USES_F, needs=[dependency], runpath=str(w.dir("a")))
    dependency.unlink()
    (w.dir("a") / "libloop.so").symlink_to("libloop.so")
    return opened(user)


@scenario
def a_path_below_a_file(w: Workshop) -> Case:
    path = w.lib("libfile.so")
    return opened(path / "libinside.so")


@scenario
def a_download_that_stopped_half_way(w: Workshop) -> Case:
    path = w.lib("libhalf.so", "char big[400000] = {1}; int f(void){return big[7];}")
    path.write_bytes(path.read_bytes()[:8192])
    return opened(path)


# --- where the loader looks -----------------------------------------------------------------------


def old_and_new(w: Workshop) -> tuple[Path, Path, Path]:
    """(folder of the old copy without ``f2``, folder of the new one, the new library)."""
    old = w.lib("libjit.so.12", F, into="old", versions=V1)
    new = w.lib("libjit.so.12", F + "int f2(void){return 2;}", into="new", versions=V2)
    return old.parent, new.parent, new


@scenario
def ld_library_path_beats_runpath_and_an_older_copy_wins(w: Workshop) -> Case:
    old, new, library = old_and_new(w)
    user = w.lib("libsparse.so", "int f2(void); int g(void){return f2();}", needs=[library],
                 runpath=str(new))  # fmt: skip
    return opened(user, env={"LD_LIBRARY_PATH": str(old)})


@healthy
def rpath_beats_ld_library_path(w: Workshop) -> Case:
    old, new, library = old_and_new(w)
    user = w.lib("libsparse.so", "int f2(void); int g(void){return f2();}", needs=[library],
                 rpath=str(new))  # fmt: skip
    return opened(user, env={"LD_LIBRARY_PATH": str(old)})


@scenario
def runpath_is_not_inherited(w: Workshop) -> Case:
    deep = w.lib("libdeep.so", F, into="deep")
    middle = w.lib("libmiddle.so", USES_F, into="lib", needs=[deep])
    user = w.lib("libuser.so", needs=[middle], runpath=f"{w.folder}/lib:{w.folder}/deep")
    return opened(user)


@healthy
def rpath_is_inherited(w: Workshop) -> Case:
    deep = w.lib("libdeep.so", F, into="deep")
    middle = w.lib("libmiddle.so", USES_F, into="lib", needs=[deep])
    user = w.lib("libuser.so", needs=[middle], rpath=f"{w.folder}/lib:{w.folder}/deep")
    return opened(user)


@scenario
def an_inherited_rpath_is_lost_where_there_is_a_runpath(w: Workshop) -> Case:
    deep = w.lib("libdeep.so", F, into="deep")
    middle = w.lib("libmiddle.so", USES_F, into="lib", needs=[deep], runpath="$ORIGIN/elsewhere")
    user = w.lib("libuser.so", needs=[middle], rpath=f"{w.folder}/lib:{w.folder}/deep")
    return opened(user)


@healthy
def an_rpath_passes_through_an_object_with_runpath(w: Workshop) -> Case:
    deep = w.lib("libdeep.so", F, into="deep")
    low = w.lib("liblow.so", USES_F, into="lib", needs=[deep])
    middle = w.lib("libmiddle.so", into="lib", needs=[low], runpath="$ORIGIN")
    user = w.lib("libuser.so", needs=[middle], rpath=f"{w.folder}/lib:{w.folder}/deep")
    return opened(user)


@scenario
def the_error_names_the_path_as_the_loader_built_it(w: Workshop) -> Case:
    broken = w.lib("libbroken.so", F, into="nvidia/cublas/lib")
    user = w.lib("libuser.so", USES_F, into="torch/lib", needs=[broken],
                 rpath="$ORIGIN/../../nvidia/cublas/lib//:$ORIGIN")  # fmt: skip
    broken.write_text("<html>502 Bad Gateway</html>" * 20)
    return opened(user)


@scenario
def braces_and_lib_in_a_runpath(w: Workshop) -> Case:
    deep = w.lib("libdeep.so", USES_F, into="prefix/lib/x86_64-linux-gnu")
    user = w.lib("libuser.so", needs=[deep], into="prefix", runpath="${ORIGIN}/$LIB:$ORIGINAL/x")
    return opened(user)


@scenario
def an_empty_entry_of_ld_library_path_is_the_working_folder(w: Workshop) -> Case:
    dependency = w.lib("libhere.so", USES_F, into="cwd")
    user = w.lib("libuser.so", needs=[dependency])
    return opened(user, env={"LD_LIBRARY_PATH": f"{w.dir('empty')}:"}, cwd=w.dir("cwd"))


@scenario
def a_relative_entry_of_ld_library_path(w: Workshop) -> Case:
    dependency = w.lib("libhere.so", USES_F, into="cwd/lib")
    user = w.lib("libuser.so", needs=[dependency])
    return opened(user, env={"LD_LIBRARY_PATH": "lib"}, cwd=w.dir("cwd"))


@scenario
def a_semicolon_separates_ld_library_path(w: Workshop) -> Case:
    old, new, library = old_and_new(w)
    user = w.lib("libsparse.so", "int f2(void); int g(void){return f2();}", needs=[library])
    return opened(user, env={"LD_LIBRARY_PATH": f"{w.dir('empty')};{old};{new}"})


@scenario
def ld_library_path_set_but_empty_counts_as_unset(w: Workshop) -> Case:
    dependency = w.lib("libhere.so", F, into="cwd")
    user = w.lib("libuser.so", USES_F, needs=[dependency])
    return opened(user, env={"LD_LIBRARY_PATH": ""}, cwd=w.dir("cwd"))


@scenario
def no_default_folders_for_a_file_that_says_so(w: Workshop) -> Case:
    system = Path("/lib/x86_64-linux-gnu/libutil.so.1")
    if not system.exists():
        system = next(Path("/").glob("*lib*/libutil.so.1"))
    user = w.lib("libuser.so", needs=[system], flags=["-Wl,-z,nodefaultlib"])
    return opened(user)


@scenario
def a_cpu_folder_comes_before_the_plain_one(w: Workshop) -> Case:
    good = w.lib("libfast.so", F, into="lib")
    bad = w.lib("libfast.so", "int other(void){return 0;}", into="lib/glibc-hwcaps/x86-64-v2")
    assert bad.exists()
    user = w.lib("libuser.so", USES_F, needs=[good], runpath=str(w.folder / "lib"))
    return opened(user)


@healthy
def a_cpu_folder_for_better_cpus_is_left_alone(w: Workshop) -> Case:
    good = w.lib("libfast.so", F, into="lib")
    bad = w.dir("lib/glibc-hwcaps/x86-64-v9") / "libfast.so"
    bad.write_text("not for this CPU")
    user = w.lib("libuser.so", USES_F, needs=[good], runpath=str(w.folder / "lib"))
    return opened(user)


@healthy
def a_broken_copy_later_on_the_path_does_not_matter(w: Workshop) -> Case:
    good = w.lib("libgood.so", F, into="one")
    (w.dir("two") / "libgood.so").write_text("broken" * 20)
    user = w.lib("libuser.so", USES_F, needs=[good], runpath=f"{w.folder}/one:{w.folder}/two")
    return opened(user)


# --- what is loaded already -----------------------------------------------------------------------


@healthy
def a_soname_that_is_loaded_already_is_not_searched(w: Workshop) -> Case:
    first = w.lib("libjit.so.12", F, into="first")
    user = w.lib("libuser.so", USES_F, needs=[first])
    return Case([("ctypes", first), ("ctypes", user)])


@scenario
def an_older_copy_that_was_loaded_first_is_taken(w: Workshop) -> Case:
    old, new, library = old_and_new(w)
    user = w.lib("libsparse.so", "int f2(void); int g(void){return f2();}", needs=[library],
                 rpath=str(new))  # fmt: skip
    return Case([("ctypes", old / "libjit.so.12"), ("ctypes", user)])


@healthy
def one_file_under_two_names_is_one_object(w: Workshop) -> Case:
    first = w.lib("libjit.so.12", F, into="a", soname="libjit.so.12")
    user = w.lib("libuser.so", USES_F, needs=[first], runpath=str(w.dir("b")))
    (w.dir("b") / "libjit.so.12").symlink_to(first)
    return Case([("ctypes", w.dir("b") / "libjit.so.12"), ("ctypes", user)])


@scenario
def a_library_opened_locally_gives_no_symbols_to_others(w: Workshop) -> Case:
    provider = w.lib("libprovider.so", F)
    user = w.lib("libuser.so", USES_F)
    return Case([("ctypes", provider), ("ctypes", user)])


@healthy
def a_library_opened_globally_gives_symbols_to_others(w: Workshop) -> Case:
    provider = w.lib("libprovider.so", F)
    user = w.lib("libuser.so", USES_F)
    return Case([("global", provider), ("ctypes", user)])


@healthy
def ld_preload_gives_the_symbol(w: Workshop) -> Case:
    provider = w.lib("libprovider.so", F)
    user = w.lib("libuser.so", USES_F)
    return opened(user, env={"LD_PRELOAD": str(provider)})


@scenario
def a_failed_attempt_leaves_nothing_behind(w: Workshop) -> Case:
    provider = w.lib("libprovider.so", F)
    broken = w.lib("libbroken.so", "int nobody(void); int h(void){return nobody();}",
                   needs=[provider], runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", USES_F, needs=[provider])
    return Case([("ctypes", broken), ("ctypes", user)])


# --- symbols and versions ---------------------------------------------------------------------------


@scenario
def an_undefined_function(w: Workshop) -> Case:
    return opened(w.lib("libuser.so", USES_F))


@scenario
def an_undefined_variable(w: Workshop) -> Case:
    return opened(w.lib("libuser.so", "extern int v; int *where(void){return &v;}"))


@scenario
def data_before_functions_when_both_are_undefined(w: Workshop) -> Case:
    code = "extern int zebra; int ant(void); int g(void){return ant();} int *z = &zebra;"
    return opened(w.lib("libuser.so", code))


@scenario
def several_undefined_functions(w: Workshop) -> Case:
    names = ["quebec", "alpha", "zulu", "mike", "charlie"]
    declared = "".join(f"int {name}(void);" for name in names)
    called = "+".join(f"{name}()" for name in names)
    return opened(w.lib("libuser.so", f"{declared} int g(void){{return {called};}}"))


@healthy
def a_weak_symbol_may_stay_undefined(w: Workshop) -> Case:
    code = "int f(void) __attribute__((weak)); int g(void){return f ? f() : 0;}"
    return opened(w.lib("libuser.so", code))


@scenario
def dependencies_are_relocated_before_their_users(w: Workshop) -> Case:
    low = w.lib("liblow.so", "int lost_low(void); int low(void){return lost_low();}")
    middle = w.lib("libmiddle.so", "int lost_mid(void); int mid(void){return lost_mid();}",
                   needs=[low], runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", USES_F, needs=[middle], runpath=str(w.folder))
    return opened(user)


@scenario
def siblings_are_relocated_from_the_last_to_the_first(w: Workshop) -> Case:
    one = w.lib("libone.so", "int lost_one(void); int one(void){return lost_one();}")
    two = w.lib("libtwo.so", "int lost_two(void); int two(void){return lost_two();}")
    user = w.lib("libuser.so", needs=[one, two], runpath=str(w.folder))
    return opened(user)


@scenario
def libraries_that_need_each_other(w: Workshop) -> Case:
    a = w.lib("liba.so", "int a(void){return 0;}")
    b = w.lib("libb.so", "int lost_b(void); int b(void){return lost_b();}", needs=[a],
              runpath=str(w.folder))  # fmt: skip
    a = w.lib("liba.so", "int lost_a(void); int a(void){return lost_a();}", needs=[b],
              runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", needs=[a], runpath=str(w.folder))
    return opened(user)


@scenario
def a_diamond_of_dependencies(w: Workshop) -> Case:
    base = w.lib("libbase.so", "int lost_base(void); int base(void){return lost_base();}")
    left = w.lib("libleft.so", "int lost_l(void); int l(void){return lost_l();}", needs=[base],
                 runpath=str(w.folder))  # fmt: skip
    right = w.lib("libright.so", "int lost_r(void); int r(void){return lost_r();}", needs=[base],
                  runpath=str(w.folder))  # fmt: skip
    user = w.lib("libuser.so", needs=[base, left, right], runpath=str(w.folder))
    return opened(user)


@scenario
def a_version_that_the_library_does_not_define(w: Workshop) -> Case:
    old, _, library = old_and_new(w)
    user = w.lib("libuser.so", "int f2(void); int g(void){return f2();}", needs=[library],
                 runpath=str(old))  # fmt: skip
    return opened(user)


@scenario
def a_version_that_is_there_without_its_symbol(w: Workshop) -> Case:
    new = w.lib("libjit.so.12", F + "int f2(void){return 2;}", into="new",
                versions="V2 {global: f; f2; local: *;};")  # fmt: skip
    old = w.lib("libjit.so.12", F, into="old", versions="V2 {global: f; local: *;};")
    user = w.lib("libuser.so", "int f2(void); int g(void){return f2();}", needs=[new],
                 runpath=str(old.parent))  # fmt: skip
    return opened(user)


@scenario
def a_library_without_versions_where_one_is_wanted(w: Workshop) -> Case:
    new = w.lib("libjit.so.12", F, into="new", versions=V1)
    plain = w.lib("libjit.so.12", "int other(void){return 1;}", into="plain")
    user = w.lib("libuser.so", USES_F, needs=[new], runpath=str(plain.parent))
    return opened(user)


@healthy
def the_default_version_serves_who_wants_none(w: Workshop) -> Case:
    plain = w.lib("libjit.so.12", F, into="plain")
    versioned = w.lib("libjit.so.12", F, into="versioned", versions=V1)
    user = w.lib("libuser.so", USES_F, needs=[plain], runpath=str(versioned.parent))
    return opened(user)


@scenario
def a_hidden_version_does_not_serve_who_wants_none(w: Workshop) -> Case:
    code = ('__asm__(".symver f_old,f@V1"); int f_old(void){return 1;}'
            "int other(void){return 0;}")  # fmt: skip
    plain = w.lib("libjit.so.12", F, into="plain")
    hidden = w.lib("libjit.so.12", code, into="hidden",
                   versions="V0 {global: other; local: *;}; V1 {} V0;")  # fmt: skip
    user = w.lib("libuser.so", USES_F, needs=[plain], runpath=str(hidden.parent))
    return opened(user)


@scenario
def an_old_hash_table_only(w: Workshop) -> Case:
    flags = ["-Wl,--hash-style=sysv"]
    old = w.lib("libjit.so.12", F, into="old", flags=flags)
    user = w.lib("libuser.so", "int f(void); int f2(void); int g(void){return f()+f2();}",
                 needs=[old], runpath=str(old.parent), flags=flags)  # fmt: skip
    return opened(user)


@scenario
def an_old_libstdcxx_comes_first(w: Workshop) -> Case:
    user = w.lib("libcxx.so", "#include <string>\nstd::string s(int n){return std::to_string(n);}"
                 "void t(){throw std::bad_alloc();}", language="cc",
                 flags=["-shared-libgcc"])  # fmt: skip
    fake = w.lib("libstdc++.so.6", F, into="conda/lib",
                 versions="GLIBCXX_3.4 {global: f; local: *;}; CXXABI_1.3 {};")  # fmt: skip
    return opened(user, env={"LD_LIBRARY_PATH": str(fake.parent)})


@scenario
def a_glibc_of_the_future(w: Workshop) -> Case:
    user = w.lib("libnew.so", "#include <math.h>\ndouble g(double x){return pow(x, x);}",
                 flags=["-lm", "-fno-builtin"])  # fmt: skip
    data = user.read_bytes()
    version = re.search(rb"GLIBC_2\.(\d\d)\0", data)
    assert version is not None
    user.write_bytes(data.replace(version[0], b"GLIBC_2.99\0"))
    return opened(user)


# --- Python extensions ------------------------------------------------------------------------------

EXTENSION = """
#include <Python.h>
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "%(name)s", 0, -1, 0};
PyMODINIT_FUNC %(init)s(void){ %(body)s return PyModule_Create(&def); }
"""


def extension(w: Workshop, name: str, *, init: str = "", body: str = "", **kwargs: object) -> Path:
    include = sysconfig.get_path("include")
    code = EXTENSION % {"name": name, "init": init or f"PyInit_{name}", "body": body}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return w.lib(f"{name}{suffix}", code, flags=[f"-I{include}"], **kwargs)  # type: ignore[arg-type]


@healthy
def an_extension_that_is_fine(w: Workshop) -> Case:
    return Case([("import", extension(w, "fine"))])


@scenario
def an_extension_for_another_python(w: Workshop) -> Case:
    body = "extern int PyCObject_Check(void*); PyCObject_Check(0);"
    return Case([("import", extension(w, "aged", body=body))])


@scenario
def an_extension_under_another_name(w: Workshop) -> Case:
    return Case([("import", extension(w, "renamed", init="PyInit_original"))])


@scenario
def an_extension_whose_library_is_gone(w: Workshop) -> Case:
    gone = w.lib("libcudart.so.12", F)
    path = extension(w, "kernels", body="extern int f(void); f();", needs=[gone])
    gone.unlink()
    return Case([("import", path)])


assert sys.platform == "linux", "these tests ask the Linux loader"
assert os.name == "posix"
