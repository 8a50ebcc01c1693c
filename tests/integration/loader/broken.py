"""Broken and healthy environments, each made of real ELF files. One function, one environment."""

from __future__ import annotations

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
